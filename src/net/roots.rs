//! The certificates that TLS trusts: the system's, and further ones that settings name.

use std::path::{Path, PathBuf};

use reqwest::Certificate;
use rustls::{RootCertStore, pki_types::CertificateDer};

use super::{Identity, Options};
use crate::domain::problem::{Code, Problem, Result};

/// Where distributions keep their bundle: Debian and Alpine, Fedora and RHEL, openSUSE, and Alpine's and BSD's other name.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// All roots of these options. No system bundle at all is no error: then only the CAs that settings name are trusted.
pub fn load(options: &Options) -> Result<Vec<Certificate>> {
    // A certificate that rustls cannot read would make the whole client fail: old bundles hold some.
    let mut roots: Vec<Certificate> = system(options)?.certs.iter().filter_map(usable).collect();
    for path in &options.ca {
        roots.extend(read_ca(path)?);
    }
    Ok(roots)
}

fn system(options: &Options) -> Result<rustls_native_certs::CertificateResult> {
    let bundle = options.roots_file.clone().or_else(|| BUNDLES.iter().map(PathBuf::from).find(|path| path.is_file()));
    let system = rustls_native_certs::load_certs_from_paths(bundle.as_deref(), options.roots_dir.as_deref());
    if let Some(path) = &options.roots_file
        && system.certs.is_empty()
    {
        let why = system.errors.first().map_or_else(|| "it holds no certificate".to_string(), ToString::to_string);
        return Err(Problem::new(Code::FileUnreadable, format!("the CA bundle {} cannot be used: {why}", path.display()))
            .hint("correct SSL_CERT_FILE, or unset it"));
    }
    Ok(system)
}

/// The same roots for what is no HTTP.
pub fn store(options: &Options) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(system(options)?.certs);
    for path in &options.ca {
        read_ca(path)?;
        store.add_parsable_certificates(rustls_native_certs::load_certs_from_paths(Some(path), None).certs);
    }
    Ok(store)
}

/// A client certificate with its key.
pub fn identity(identity: &Identity) -> Result<reqwest::Identity> {
    let read = |setting: &str, path: &Path| {
        std::fs::read(path).map_err(|error| {
            Problem::new(Code::FileUnreadable, format!("{setting}: {} cannot be read: {error}", path.display()))
                .hint(format!("set {setting} to a readable PEM file"))
        })
    };
    let mut pem = read("registry.client_certificate", &identity.certificate)?;
    pem.push(b'\n');
    pem.extend(read("registry.client_key", &identity.key)?);
    // The error could quote the key.
    reqwest::Identity::from_pem(&pem).map_err(|_| {
        let (certificate, key) = (identity.certificate.display(), identity.key.display());
        Problem::new(Code::FileUnreadable, format!("{certificate} and {key} are no client certificate with its key"))
            .hint("set registry.client_certificate and registry.client_key to PEM files that belong together; the key without a password")
    })
}

pub fn read_ca(path: &Path) -> Result<Vec<Certificate>> {
    let unusable = |why: String| {
        Problem::new(Code::FileUnreadable, format!("the CA file {} cannot be used: {why}", path.display()))
            .hint("set registry.ca to a readable PEM file of the CA's certificate")
    };
    // Read first: the loader's own error does not say what the operating system said.
    std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let found = rustls_native_certs::load_certs_from_paths(Some(path), None);
    let certificates: Vec<Certificate> = found.certs.iter().filter_map(usable).collect();
    match certificates.is_empty() {
        true => Err(unusable("it holds no PEM certificate".to_string())),
        false => Ok(certificates),
    }
}

fn usable(der: &CertificateDer<'static>) -> Option<Certificate> {
    RootCertStore::empty().add(der.clone()).ok()?;
    Certificate::from_der(der).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_must_hold_a_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        std::fs::write(&path, "no certificate").unwrap();
        for path in [path, dir.path().join("absent.pem")] {
            let problem = load(&Options { ca: vec![path.clone()], ..Options::default() }).unwrap_err();
            assert_eq!(problem.code, Code::FileUnreadable);
            assert!(problem.message.contains(path.to_str().unwrap()), "{}", problem.message);
        }
    }
}
