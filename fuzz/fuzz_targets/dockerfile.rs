#![no_main]

use libfuzzer_sys::fuzz_target;
use shipway::domain::dockerfile::{Instruction, Scope, parse, stages};

fuzz_target!(|text: &str| {
    let Ok(dockerfile) = parse(text, "Dockerfile") else { return };
    let scope = Scope::default();
    let (_, found) = dockerfile.stages();
    let _ = stages::needed(&found, &scope);
    for line in &dockerfile.lines {
        match &line.instruction {
            Instruction::Env(pairs) | Instruction::Label(pairs) => {
                for (name, value) in pairs {
                    let _ = (scope.expand(name), scope.expand(value));
                }
            }
            Instruction::From { image, .. } => {
                let _ = scope.expand(image);
            }
            _ => {}
        }
    }
    let written = dockerfile.to_string();
    let again = parse(&written, "Dockerfile").unwrap_or_else(|problem| panic!("{problem}: {written:?}"));
    let instructions = |one: &shipway::domain::dockerfile::Dockerfile| one.lines.iter().map(|line| line.instruction.clone()).collect::<Vec<_>>();
    assert_eq!(instructions(&again), instructions(&dockerfile), "{written:?}");
});
