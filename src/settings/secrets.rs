//! Every secret that this process knows, so that whatever leaves it can be cleaned of them.

use super::{
    ci::Ci,
    coerce::plain,
    host::{self, Host},
    reader::Entries,
    result,
    shape::Secrecy,
};
use crate::domain::secret::Secret;

/// Secrets of settings, CI and host, and the values of variables that are named like one.
pub fn all(entries: &Entries, ci: &Ci, host: &Host, variables: &[(String, String)]) -> Vec<Secret> {
    let mut found: Vec<String> = Vec::new();
    for (path, entry) in entries {
        match result::leaf_of(path).map(|leaf| leaf.secrecy) {
            Some(Secrecy::Secret) => {
                let value = plain(&entry.value);
                found.extend(parts_of_address(&value));
                found.push(value);
            }
            Some(Secrecy::WithCredentials) => found.extend(password(&plain(&entry.value))),
            _ => {}
        }
    }
    let of_ci = [
        ci.job_token.as_ref(),
        ci.deploy_token.as_ref().map(|token| &token.password),
        registry_password(ci),
        host.registry_config.as_ref(),
    ];
    found.extend(of_ci.into_iter().flatten().map(|secret| secret.expose().to_string()));
    found.extend([&host.proxies.http, &host.proxies.https].into_iter().flatten().filter_map(|proxy| password(proxy.expose())));
    for (name, value) in variables {
        match host::is_secret(name, value) {
            true => found.push(value.trim().to_string()),
            false => found.extend(password(value)),
        }
    }
    found.retain(|secret| secret.len() >= 4);
    found.sort();
    found.dedup();
    found.into_iter().map(Secret::new).collect()
}

fn registry_password(ci: &Ci) -> Option<&Secret> {
    Some(&ci.registry.as_ref()?.credentials.as_ref()?.password)
}

/// An address that is a secret as a whole (a chat's webhook) has its secret in a part of its path or query.
fn parts_of_address(value: &str) -> Vec<String> {
    let Some((_, rest)) = value.split_once("://") else { return Vec::new() };
    let parts = rest.split(['/', '?', '#', '&', '=']).skip(1);
    parts.filter(|part| part.len() >= 12).map(str::to_string).collect()
}

/// The password in an address such as `https://user:password@host`.
fn password(address: &str) -> Option<String> {
    let (_, rest) = address.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user, _) = authority.rsplit_once('@')?;
    user.split_once(':').map(|(_, password)| password.to_string())
}
