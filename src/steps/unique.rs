//! Names that no other run gives.

use ring::rand::{SecureRandom, SystemRandom};

use crate::domain::problem::{Problem, Result};

/// 128 random bits in hex.
pub(super) fn unique() -> Result<String> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Problem::bug("the system gives no random numbers"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
