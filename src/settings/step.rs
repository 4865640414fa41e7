//! The settings of a plugin step, looked at where they are written instead of where they arrive.

use super::{
    mistake::Mistake,
    reader::Entries,
    variables::{self, Prefix},
};
use crate::domain::problem::Code;

/// What is wrong with variables that a CI makes of a step's settings; None is a value that only the CI knows. The mistakes' `source` is
/// the variable.
pub fn check_step(variables: &[(String, Option<String>)]) -> Vec<Mistake> {
    let made: Vec<(String, String)> =
        variables.iter().map(|(name, value)| (name.clone(), value.clone().unwrap_or_else(|| "secret".to_string()))).collect();
    let (mut mistakes, mut warnings) = (Vec::new(), Vec::new());
    variables::read(Prefix::Plugin, &made, &mut Entries::new(), &mut mistakes, &mut warnings);
    let known = |mistake: &Mistake| variables.iter().any(|(name, value)| *name == mistake.source && value.is_some());
    mistakes.retain(|mistake| mistake.code == Code::SettingUnknown || known(mistake));
    mistakes
}
