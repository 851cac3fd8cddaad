//! `mutants`: shows that the suite sees.

use super::options::Options;
use super::{Problem, say};
use crate::campaign::{InProcess, Plan, campaign};
use crate::runner::Exit;
use crate::subject::Limits;
use crate::{catalogue, mutants};

/// Hunts every wrong registry, or those that are named, and prints the requirement that each was
/// rejected for.
pub(super) fn show_mutants(options: &Options) -> Result<Exit, Problem> {
    let named =
        |name: &str| options.files.is_empty() || options.files.iter().any(|own| own == name);
    let mutants = mutants::MUTANTS.iter().map(|own| (format!("{:?}", own.bug), own));
    let mutants: Vec<_> = mutants.filter(|(name, _)| named(name)).collect();
    let variants = mutants::VARIANTS.iter().map(|own| (format!("{:?}", own.variety), own));
    let variants: Vec<_> = variants.filter(|(name, _)| named(name)).collect();
    let known = |file: &&String| {
        mutants.iter().any(|own| own.0 == **file) || variants.iter().any(|own| own.0 == **file)
    };
    if let Some(unknown) = options.files.iter().find(|file| !known(file)) {
        let all = "`registry-conform gallery` prints the names";
        return Err(Problem::Usage(format!("there is no registry {unknown:?}: {all}")));
    }
    let plan = Plan { scripts: options.scripts, seed: options.seed, ..Plan::default() };
    let mut blind = 0;
    say(&format!(
        "{:<32} {:<14} {:<8} {:>7}  {}",
        "mutant", "breaks", "rejected", "scripts", "steps of the smallest script"
    ));
    for (name, mutant) in &mutants {
        let limits = Limits { patience: mutant.patience(), ..Limits::default() };
        let mut driver = InProcess::new(mutants::mutant(mutant.bug)).within(limits);
        let plan = Plan { first_only: true, shrinking: mutant.shrinking(), ..plan.clone() };
        let outcome = campaign(&mutants::hello(), &mut driver, &plan, &mut |_, _| {});
        let found = outcome.failures.first();
        let id = found.map_or("-", |failure| failure.violation.requirement);
        let seen = mutant.breaks.contains(&id);
        blind += usize::from(!seen);
        say(&format!(
            "{name:<32} {:<14} {:<8} {:>7}  {}{}",
            mutant.breaks.join(" "),
            id,
            found.map_or(0, |failure| failure.found_after),
            found.map_or(0, |failure| failure.script.steps.len()),
            if seen { "" } else { "  ← not what it breaks" },
        ));
    }
    for (name, variant) in &variants {
        let (hello, factory) = mutants::variant(variant.variety);
        let outcome = campaign(&hello, &mut InProcess::new(factory), &plan, &mut |_, _| {});
        let wrong = outcome.failures.iter().find(|failure| failure.level == catalogue::Level::M);
        blind += usize::from(wrong.is_some());
        let said = wrong.map_or("accepted", |failure| failure.violation.requirement);
        say(&format!(
            "legal: {name:<25} {:<14} {:<8} {:>7}  {}",
            "nothing", said, outcome.runs, variant.allowed_by
        ));
    }
    say(&format!(
        "seed {}: {} mutants, {} legal variants, {blind} misjudged",
        options.seed,
        mutants.len(),
        variants.len()
    ));
    Ok(if blind == 0 { Exit::Conforming } else { Exit::Failures })
}
