//! Default probes: the actuator's paths when it is on the class path, else a TCP connection.

use crate::{
    domain::{
        application::Application,
        workload::{Probe, Probes, Timing},
    },
    settings::{ProbeSetting, ProbeSettings},
};

/// A start-up is looked at each second, for five minutes.
const STARTUP: Timing = Timing { period: 1, timeout: 2, failure_threshold: 300 };
/// Out of the Service after three failures; back with the first success.
const READINESS: Timing = Timing { period: 5, timeout: 2, failure_threshold: 3 };
/// Slower than readiness: a restart is the last resort.
const LIVENESS: Timing = Timing { period: 10, timeout: 2, failure_threshold: 6 };

/// What a probe is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Startup,
    Readiness,
    Liveness,
}

impl Purpose {
    fn timing(self) -> Timing {
        match self {
            Purpose::Startup => STARTUP,
            Purpose::Readiness => READINESS,
            Purpose::Liveness => LIVENESS,
        }
    }
}

/// The settings' probes over the defaults: startup and readiness by the actuator's readiness group, or by TCP; no liveness, since a
/// restart on a guess does more harm than good.
pub(super) fn probes(settings: &ProbeSettings, application: Option<&Application>, port: u16) -> Probes {
    let default = |purpose| match application.filter(|application| application.actuator) {
        Some(application) => Some(actuator(application, port, purpose)),
        None => Some(Probe::Tcp { port, timing: Purpose::timing(purpose) }),
    };
    let set = |setting: &Option<ProbeSetting>, purpose| setting.as_ref().map(|setting| of_setting(setting, purpose, application, port));
    let readiness = set(&settings.readiness, Purpose::Readiness).unwrap_or_else(|| default(Purpose::Readiness));
    let like_readiness = || readiness.clone().map(|probe| with_timing(probe, STARTUP));
    Probes {
        startup: set(&settings.startup, Purpose::Startup).unwrap_or_else(like_readiness),
        liveness: set(&settings.liveness, Purpose::Liveness).flatten(),
        readiness,
    }
}

/// A path is on the application's port, or on management's when it is below the actuator's.
fn of_setting(setting: &ProbeSetting, purpose: Purpose, application: Option<&Application>, port: u16) -> Option<Probe> {
    let timing = purpose.timing();
    match setting {
        ProbeSetting::Off => None,
        ProbeSetting::Tcp => Some(Probe::Tcp { port, timing }),
        ProbeSetting::Path(path) => {
            let management = application.filter(|application| application.actuator && path.starts_with(&base_path(application)));
            let port = management.map_or(port, |application| management_port(application, port));
            Some(Probe::Http { path: path.clone(), port, timing })
        }
        ProbeSetting::Custom(probe) => Some(Probe::Custom(serde_json::Value::Object(probe.clone()))),
    }
}

/// A whole probe keeps its own times, but a start-up may take five minutes.
fn with_timing(probe: Probe, timing: Timing) -> Probe {
    match probe {
        Probe::Http { path, port, .. } => Probe::Http { path, port, timing },
        Probe::Tcp { port, .. } => Probe::Tcp { port, timing },
        Probe::Custom(mut probe) => {
            for (key, value) in [("periodSeconds", timing.period), ("failureThreshold", timing.failure_threshold)] {
                probe[key] = value.into();
            }
            for key in ["initialDelaySeconds", "successThreshold"] {
                probe.as_object_mut().map(|probe| probe.shift_remove(key));
            }
            Probe::Custom(probe)
        }
    }
}

/// `/actuator/health/readiness` since Spring Boot 2.3, `/actuator/health` before (the probe groups are from 2.3: Spring Boot's reference,
/// "Kubernetes Probes"). On a management port of its own, management.server.base-path counts, else the server's context path.
fn actuator(application: &Application, port: u16, purpose: Purpose) -> Probe {
    let health = format!("{}/health", base_path(application));
    let path = if has_probe_groups(application.spring_boot.as_deref()) { format!("{health}/readiness") } else { health };
    Probe::Http { path, port: management_port(application, port), timing: purpose.timing() }
}

fn management_port(application: &Application, port: u16) -> u16 {
    application.port("management.server.port").unwrap_or(port)
}

fn base_path(application: &Application) -> String {
    let property = |key: &str| application.properties.get(key).map(|value| value.trim_matches('/')).filter(|value| !value.is_empty());
    let own_port = application.port("management.server.port").is_some_and(|own| Some(own) != application.port("server.port"));
    let prefix = if own_port {
        property("management.server.base-path")
    } else {
        property("server.servlet.context-path").or_else(|| property("spring.webflux.base-path"))
    };
    let actuator = property("management.endpoints.web.base-path").unwrap_or("actuator");
    match prefix {
        Some(prefix) => format!("/{prefix}/{actuator}"),
        None => format!("/{actuator}"),
    }
}

fn has_probe_groups(version: Option<&str>) -> bool {
    let Some(version) = version else { return true };
    let mut numbers = version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let (major, minor) = (numbers.next().unwrap_or(u32::MAX), numbers.next().unwrap_or(0));
    (major, minor) >= (2, 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::application::Form;

    fn application(boot: &str, properties: &[(&str, &str)]) -> Application {
        Application {
            path: "app.jar".into(),
            form: Form::BootJar,
            main_class: None,
            java: Some(17),
            version: None,
            spring_boot: Some(boot.into()),
            actuator: true,
            properties: properties.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        }
    }

    fn settings(readiness: Option<ProbeSetting>, liveness: Option<ProbeSetting>) -> ProbeSettings {
        ProbeSettings { startup: None, readiness, liveness }
    }

    fn readiness(boot: &str, properties: &[(&str, &str)]) -> (String, u16) {
        match probes(&settings(None, None), Some(&application(boot, properties)), 8080).readiness {
            Some(Probe::Http { path, port, .. }) => (path, port),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_actuators_own_path_and_port() {
        assert_eq!(readiness("3.5.0", &[]), ("/actuator/health/readiness".into(), 8080));
        assert_eq!(readiness("2.2.13.RELEASE", &[]), ("/actuator/health".into(), 8080));
        assert_eq!(readiness("3.5.0", &[("server.servlet.context-path", "/shop/")]), ("/shop/actuator/health/readiness".into(), 8080));
        assert_eq!(readiness("3.5.0", &[("management.endpoints.web.base-path", "/manage")]), ("/manage/health/readiness".into(), 8080));
        let own = [("management.server.port", "9090"), ("server.servlet.context-path", "/shop"), ("management.server.base-path", "/m")];
        assert_eq!(readiness("3.5.0", &own), ("/m/actuator/health/readiness".into(), 9090));
    }

    #[test]
    fn without_actuator_a_connection_must_do() {
        let probes = probes(&settings(None, None), None, 8081);
        assert_eq!(probes.readiness, Some(Probe::Tcp { port: 8081, timing: READINESS }));
        assert_eq!(probes.startup, Some(Probe::Tcp { port: 8081, timing: STARTUP }));
        assert_eq!(probes.liveness, None);
    }

    #[test]
    fn settings_may_say_a_path_tcp_off_or_all() {
        let liveness = |setting| probes(&settings(None, Some(setting)), None, 8080).liveness;
        assert_eq!(liveness(ProbeSetting::Tcp), Some(Probe::Tcp { port: 8080, timing: LIVENESS }));
        assert_eq!(liveness(ProbeSetting::Off), None);
        assert!(matches!(liveness(ProbeSetting::Path("/live".into())), Some(Probe::Http { path, port: 8080, .. }) if path == "/live"));
        let whole = serde_json::json!({"exec": {"command": ["x"]}, "initialDelaySeconds": 9});
        let custom = ProbeSetting::Custom(whole.as_object().unwrap().clone());
        let probes = probes(&settings(Some(custom), None), None, 8080);
        assert_eq!(probes.readiness, Some(Probe::Custom(whole)));
        let startup = serde_json::json!({"exec": {"command": ["x"]}, "periodSeconds": 1, "failureThreshold": 300});
        assert_eq!(probes.startup, Some(Probe::Custom(startup)));
    }

    #[test]
    fn readiness_off_needs_no_startup_either() {
        let probes = probes(&settings(Some(ProbeSetting::Off), None), None, 8080);
        assert_eq!(probes.startup, None);
    }

    #[test]
    fn startup_has_five_minutes() {
        assert_eq!(STARTUP.period * STARTUP.failure_threshold, 300);
    }
}
