//! What the permissions say to a question.

use crate::domain::{
    identity::{Asker, Proof},
    permission::Answer,
};

/// Who that is, where somebody asks for himself.
pub fn asks(asker: &Asker) -> String {
    let of = match (&asker.proof, &asker.project, &asker.reference) {
        (Proof::Token { .. }, Some(project), Some(reference)) => {
            let protected = if asker.protected { "protected" } else { "unprotected" };
            format!(", for {project} at {reference}, {protected}")
        }
        _ => String::new(),
    };
    format!("you are {}, {}{of}\n", asker.name(), asker.proof.words())
}

/// A line for each place that says something; a no counts more than every yes.
pub fn can(answers: &[Answer]) -> String {
    let told = |wanted: bool| {
        answers.iter().filter_map(move |answer| match answer {
            Answer::Yes { text, .. } if wanted => Some(format!("yes: {text}\n")),
            Answer::No(text) if !wanted => Some(format!("no: {text}\n")),
            _ => None,
        })
    };
    match told(false).chain(told(true)).collect::<String>() {
        text if text.is_empty() => {
            "yes: no permissions stand anywhere, so everybody may do everything that the cluster permits\n".to_string()
        }
        text => text,
    }
}
