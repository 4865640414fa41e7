//! Values that must never be shown.

/// A password, token or key. It has neither `Debug` nor `Display`, so that no log, report or error can show it by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Secret(value.into())
    }

    /// The value itself: for a request's header or a file that only its reader sees, never for an argv or a message.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// A user name with its password or token.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: Secret,
}
