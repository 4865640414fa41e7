//! Durations and sizes as people write them in settings.

use std::time::Duration;

/// Reads `90s`, `10m`, `1h30m`, `500ms`; a bare number is seconds. None when it is not a duration.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if let Ok(seconds) = rest.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = match &rest[..letters] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            "d" => Duration::from_secs(86_400),
            _ => return None,
        };
        total = total.checked_add(unit.checked_mul(u32::try_from(number).ok()?)?)?;
        rest = &rest[letters..];
    }
    (!text.trim().is_empty()).then_some(total)
}

/// Writes a duration in the shortest form that [`parse_duration`] reads back (whole milliseconds).
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.subsec_millis();
    let (hours, minutes, seconds) = (duration.as_secs() / 3600, duration.as_secs() / 60 % 60, duration.as_secs() % 60);
    let mut text = String::new();
    for (number, unit) in [(hours, "h"), (minutes, "m"), (seconds, "s"), (u64::from(millis), "ms")] {
        if number > 0 {
            text.push_str(&format!("{number}{unit}"));
        }
    }
    if text.is_empty() { "0s".to_string() } else { text }
}

/// Reads a Kubernetes quantity of bytes (`768Mi`, `1Gi`, `512M`, `1e9`, `1073741824`) as bytes, rounded up.
/// None when it is not one. Source: k8s.io/apimachinery, `resource.Quantity`.
pub fn parse_bytes(text: &str) -> Option<u64> {
    parse_quantity(text).map(|value| value.ceil() as u64)
}

/// Reads a Kubernetes quantity (`250m`, `2`, `1.5Gi`, `1e3`) as a number of its base unit. None when it is not one.
pub fn parse_quantity(text: &str) -> Option<f64> {
    let text = text.trim();
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if let Ok(number) = text.parse::<f64>() {
        return number.is_finite().then_some(number);
    }
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let number: f64 = text[..split].parse().ok()?;
    let factor = match &text[split..] {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        "Ei" => 1024f64.powi(6),
        _ => return None,
    };
    Some(number * factor)
}

/// Writes bytes for people: `512 B`, `1.5 MB` (decimal units, one digit after the point).
pub fn format_bytes(bytes: u64) -> String {
    let units = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    for (unit, factor) in units {
        if bytes as f64 >= factor {
            return format!("{:.1} {unit}", bytes as f64 / factor);
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("1h30m", 5400), ("45", 45), (" 2m5s ", 125)] {
            assert_eq!(parse_duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "m", "10x", "-5s", "1h 30m", "99999999999h", "1.5m"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        assert_eq!(format_duration(Duration::from_secs(5400)), "1h30m");
        assert_eq!(format_duration(Duration::ZERO), "0s");
    }

    #[test]
    fn quantities() {
        assert_eq!(parse_bytes("768Mi"), Some(768 << 20));
        assert_eq!(parse_bytes("1e9"), Some(1_000_000_000));
        assert_eq!(parse_quantity("250m"), Some(0.25));
        for text in ["", "Mi", "1X", "-1Gi", "nan", "inf", "1 Gi"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_for_people() {
        assert_eq!(format_bytes(999), "999 B");
        assert_eq!(format_bytes(71_303_168), "71.3 MB");
    }
}
