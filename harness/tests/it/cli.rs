//! The command line: exit codes, reports, the known-failing file.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::place::{Place, here};

/// Runs it where lines are so long that none is broken.
fn conform(place: &Path, arguments: &[&str]) -> Output {
    conform_in(place, arguments, &[("COLUMNS", "999")])
}

fn conform_in(place: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_registry-conform"));
    let environment = environment.iter().copied();
    command.current_dir(place).args(arguments).envs(environment).output().unwrap()
}

fn run(place: &Place, options: &[&str], class: Option<&str>) -> (i32, String) {
    let (adapter, broken) =
        (here("adapters/javascript/adapter.mjs"), here("tests/adapters/broken.mjs"));
    let mut arguments = vec!["run", "--scripts", "60", "--seed", "5"];
    arguments.extend(options);
    arguments.extend(["--", "node", &adapter]);
    if let Some(class) = class {
        arguments.extend([&broken, class]);
    }
    let output = conform(&place.0, &arguments);
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_conforming_registry_exits_with_0_and_without_colours() {
    let place = Place::new("good");
    let (code, page) = run(&place, &["--json", "report.json", "--junit", "report.xml"], None);
    assert_eq!(code, 0, "{page}");
    assert!(page.contains("core       conforming") && !page.contains('\u{1b}'), "{page}");
    let json: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(place.0.join("report.json")).unwrap()).unwrap();
    assert_eq!(json["exit"], "conforming");
    assert!(
        json["requirements"]
            .as_array()
            .unwrap()
            .iter()
            .any(|line| line["id"] == "REV-2" && line["status"] == "kept")
    );
    let xml = fs::read_to_string(place.0.join("report.xml")).unwrap();
    assert!(xml.contains("failures=\"0\"") && xml.contains("name=\"REV-2\""), "{xml}");
    assert!(!place.0.join(".registry-conform").exists(), "nothing failed, nothing is kept");
}

#[test]
fn a_failure_explains_itself() {
    let place = Place::new("bad");
    let (code, page) = run(&place, &["--junit", "report.xml"], Some("Sticky"));
    assert_eq!(code, 1);
    for part in [
        "not conforming: ",
        "REV-2",
        "After `close_by_identity` returned, no send begins",
        "cause:",
        "script:",
        "►",
        "replay:",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(fs::read_to_string(place.0.join("report.xml")).unwrap().contains("<failure message="));
    assert!(place.0.join(".registry-conform/REV-2.json").exists());
    let replay = conform(&place.0, &["replay", "--lines", ".registry-conform/REV-2.json"]);
    let lines: Vec<String> =
        String::from_utf8(replay.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 3, "hello, run and bye: {lines:?}");
}

#[test]
fn a_known_failure_is_excused_until_its_day() {
    let place = Place::new("known");
    let known = |expires: &str| {
        format!(
            "[[known]]\nrequirement = \"FLT-6\"\nreason = \"a plain object\"\n\
             expires = \"{expires}\"\n"
        )
    };
    place.write("known.toml", &known("9999-12-31"));
    let (code, page) = run(&place, &["--known", "known.toml"], Some("Plain"));
    assert_eq!(code, 0, "{page}");
    assert!(page.contains("1 known failure (FLT-6)"), "{page}");
    place.write("known.toml", &known("2000-01-01"));
    let output = conform(&place.0, &["run", "--known", "known.toml", "--", "true"]);
    assert_eq!(output.status.code(), Some(2), "it is not taken for a failure");
    let said = String::from_utf8(output.stderr).unwrap();
    for part in ["known.toml", "FLT-6", "2000-01-01", "renew or remove"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_malformed_file_of_known_failures_is_refused() {
    let place = Place::new("malformed");
    let entry = "[[known]]\nrequirement = \"FLT-6\"\n";
    for (text, words) in [
        ("[[known]", "known.toml"),
        (entry, "reason"),
        (&format!("{entry}reason = \" \""), "FLT-6 has no reason"),
        (&format!("{entry}reason = \"so\"\nuntil = \"2030-01-31\""), "until"),
        (&format!("{entry}reason = \"so\"\nexpires = \"soon\""), "write it as 2030-01-31"),
        (&entry.replace("FLT-6", "FLT-99"), "reason"),
    ] {
        place.write("known.toml", text);
        let output = conform(&place.0, &["run", "--known", "known.toml", "--", "true"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{text}: {said}");
        assert!(said.contains(words), "{text}: {said}");
    }
}

#[test]
fn a_known_failure_that_passes_is_stale() {
    let place = Place::new("stale");
    place.write("known.toml", "[[known]]\nrequirement = \"REV-1\"\nreason = \"was so once\"\n");
    let (code, page) = run(&place, &["--known", "known.toml", "--junit", "report.xml"], None);
    assert_eq!(code, 2);
    assert!(page.contains("Stale: REV-1"), "{page}");
    let xml = fs::read_to_string(place.0.join("report.xml")).unwrap();
    let case = "<testcase name=\"REV-1\" classname=\"known-failing\"><error ";
    let line: String = xml.lines().map(str::trim).collect();
    assert!(xml.contains(" errors=\"1\" ") && line.contains(case), "{xml}");
}

#[test]
fn a_part_of_the_suite_can_be_run() {
    let place = Place::new("part");
    assert_eq!(run(&place, &["--only", "rev-2"], Some("Plain")).0, 0, "what is broken is FLT-6");
    assert_eq!(run(&place, &["--only", "FLT-6"], Some("Plain")).0, 1);
    assert_eq!(run(&place, &["--profile", "scope_cap"], None).0, 0);
    assert_eq!(run(&place, &["--profile", "core"], Some("Plain")).0, 1);
}

#[test]
fn a_report_on_a_part_names_no_other_requirement() {
    let place = Place::new("itself");
    let (code, page) = run(&place, &["--only", "REV-2", "--json", "report.json"], None);
    assert_eq!(code, 0, "{page}");
    assert!(
        page.contains("core       conforming (asked for: REV-2)") && !page.contains("scope_cap"),
        "{page}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(place.0.join("report.json")).unwrap()).unwrap();
    assert_eq!(json["requirements"].as_array().unwrap().len(), 1);
}

#[test]
fn a_part_of_which_nothing_is_put_to_the_test_exits_with_5() {
    let place = Place::new("vacuous");
    for (option, name, why) in [
        ("--only", "SSE-1", "the profile wire-sse is not claimed"),
        ("--only", "LSE-1", "the profile leases is not claimed"),
        ("--only", "QUE-1", "the profile queued is not claimed"),
        ("--only", "DRN-1", "is not claimed"),
        ("--only", "PRG-1", "the profile threads is not claimed"),
        ("--profile", "threads", "the profile threads is not claimed"),
        ("--profile", "queued", "the profile queued is not claimed"),
        ("--profile", "wire-sse", "the profile wire-sse is not claimed"),
    ] {
        let (code, page) = run(&place, &[option, name, "--scripts", "1"], None);
        assert_eq!(code, 5, "{name}: {page}");
        assert!(
            page.contains(&format!("Nothing was put to the test: {option} {name}: ")),
            "{name}: {page}"
        );
        assert!(page.contains(why) && !page.contains("conforming"), "{name}: {page}");
    }
}

#[test]
fn the_replay_that_is_printed_can_be_pasted_into_a_shell() {
    let place = Place::new("paste");
    let (adapter, broken) =
        (here("adapters/javascript/adapter.mjs"), here("tests/adapters/broken.mjs"));
    let arguments = ["run", "--scripts", "60", "--seed", "5", "--save", "it's a 'place here"];
    let arguments = [&arguments[..], &["--", "node", &adapter, &broken, "Sticky"]].concat();
    let page = conform_in(&place.0, &arguments, &[("COLUMNS", "50")]).stdout;
    let page = String::from_utf8(page).unwrap();
    let (_, line) = page.split_once("  replay:").unwrap();
    let (line, _) = line.split_once("\n  by hand:").unwrap();
    assert!(line.contains(" \\\n"), "it is broken, as a shell takes it: {line}");
    let programs =
        Path::new(env!("CARGO_BIN_EXE_registry-conform")).parent().unwrap().display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    let again = Command::new("sh")
        .args(["-c", line])
        .current_dir(&place.0)
        .env("PATH", path)
        .output()
        .unwrap();
    assert_eq!(again.status.code(), Some(1), "{line}: {}", String::from_utf8_lossy(&again.stderr));
}

#[test]
fn a_replay_says_what_it_waits_for() {
    let place = Place::new("waits");
    place.write("one.json", r#"{"requirement": "REV-1", "script": {"steps": []}}"#);
    let mut replay = Command::new(env!("CARGO_BIN_EXE_registry-conform"))
        .args(["replay", "one.json", "--", "node", &here("tests/adapters/cheat.mjs"), "mute"])
        .current_dir(&place.0)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(replay.stderr.take().unwrap()).read_line(&mut said).unwrap();
    replay.kill().unwrap();
    replay.wait().unwrap();
    let seconds = said.strip_prefix("waiting for the adapter's answer, for ");
    let seconds = seconds.and_then(|rest| rest.strip_suffix(" s at most\n"));
    // Twice what `hello` took comes on top of it.
    assert!((10..30).contains(&seconds.unwrap().parse::<u32>().unwrap()), "{said}");
}

#[test]
fn an_unwritable_report_is_refused_before_the_run() {
    let place = Place::new("nowhere");
    let adapter = here("adapters/javascript/adapter.mjs");
    for option in ["--json", "--junit"] {
        let output = conform(
            &place.0,
            &["run", option, "no/where", "--transcript", "said", "--", "node", &adapter],
        );
        assert_eq!(output.status.code(), Some(64), "{option}");
        assert!(!place.0.join("said").exists(), "{option}: the adapter was not even started");
    }
    let output =
        conform(&place.0, &["run", "--json", "report.json", "--", "there-is-no-such-program"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(!place.0.join("report.json").exists(), "an empty report is none");
}

#[test]
fn wrong_usage_exits_with_64() {
    let place = Place::new("usage");
    for arguments in [
        &["frobnicate"][..],
        &["run"],
        &["run", "--frobnicate", "--", "true"],
        &["run", "--only", "REV-99", "--", "true"],
        &["run", "--profile", "nothing", "--", "true"],
        &["run", "--seed", "many", "--", "true"],
        &["run", "--time", "-1", "--", "true"],
        &["run", "stray", "--", "true"],
        &["replay", "--", "true"],
        &["replay", "nothing.json", "--", "true"],
        &["run", "--seed", "0xno", "--", "true"],
        &["explain", "REV-99"],
        &["gallery", "foo"],
        &["list", "extra"],
        &["spec", "--", "extra"],
        &["run", "--known", "nothing.toml", "--", "true"],
    ] {
        assert_eq!(conform(&place.0, arguments).status.code(), Some(64), "{arguments:?}");
    }
}

#[test]
fn no_adapter_exits_with_3() {
    let place = Place::new("none");
    for command in ["true", "there-is-no-such-program"] {
        for what in ["run", "doctor"] {
            assert_eq!(
                conform(&place.0, &[what, "--", command]).status.code(),
                Some(3),
                "{what} {command}"
            );
        }
    }
}

#[test]
fn an_undecided_run_exits_with_4_and_an_empty_one_with_5() {
    let place = Place::new("open");
    let output = conform(
        &place.0,
        &["run", "--scripts", "20", "--", "node", &here("tests/adapters/cheat.mjs"), "shy"],
    );
    let page = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(4), "{page}");
    assert!(
        page.contains("core       not decided") && page.contains("Never put to the test: "),
        "{page}"
    );
    assert!(page.contains("unsupported: revocations"), "{page}");
    assert_eq!(run(&place, &["--time", "0"], None).0, 5);
}

/// Runs the same in a terminal. Returns both streams together.
fn in_a_terminal(no_color: &str, class: &str) -> String {
    let place = Place::new(&format!("terminal{no_color}"));
    let spawn = "import pty, sys; pty.spawn(sys.argv[1:])";
    let output = Command::new("python3")
        .args([
            "-c",
            spawn,
            env!("CARGO_BIN_EXE_registry-conform"),
            "run",
            "--scripts",
            "60",
            "--seed",
            "5",
            "--",
        ])
        .args([
            "node",
            &here("adapters/javascript/adapter.mjs"),
            &here("tests/adapters/broken.mjs"),
            class,
        ])
        .current_dir(&place.0)
        .env("NO_COLOR", no_color)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_terminal_gets_progress_and_colours_unless_it_wants_none() {
    let (red, progress) = ("\u{1b}[1m\u{1b}[31mnot conforming: REV-1", "scripts, broken so far: 0");
    let page = in_a_terminal("", "Deaf");
    assert!(page.contains(red) && page.contains(progress), "{page}");
    assert!(page.contains("\u{1b}[1m\u{1b}[31mREV-1 "), "as soon as it is found: {page}");
    let page = in_a_terminal("1", "Deaf");
    assert!(page.contains("not conforming: REV-1") && page.contains(progress), "{page}");
    assert!(!page.contains("\u{1b}[1m\u{1b}[31m") && !page.contains("\u{1b}[1m"), "{page}");
}

#[test]
fn standard_error_names_each_failure_before_and_after_it_is_made_small_and_says_nothing_else() {
    let place = Place::new("quiet");
    let (adapter, broken) =
        (here("adapters/javascript/adapter.mjs"), here("tests/adapters/broken.mjs"));
    let run = |class| {
        conform(
            &place.0,
            &["run", "--scripts", "60", "--seed", "5", "--", "node", &adapter, &broken, class],
        )
    };
    let said = String::from_utf8(run("Deaf").stderr).unwrap();
    let [before, after] = said.lines().collect::<Vec<_>>()[..2] else { panic!("{said}") };
    assert!(before.starts_with("REV-1 ") && before.ends_with(", shrinking…"), "{said}");
    assert!(after.starts_with("REV-1 ") && !after.contains("shrinking"), "{said}");
    assert!(!said.contains(['\u{1b}', '\r']), "{said:?}");
    let good =
        conform(&place.0, &["run", "--scripts", "60", "--seed", "5", "--", "node", &adapter]);
    assert_eq!(String::from_utf8(good.stderr).unwrap(), "");
}

#[test]
fn a_replay_reports_a_should_that_is_not_met() {
    let place = Place::new("should");
    let (code, page) = run(&place, &["--scripts", "300", "--only", "ORD-2"], Some("Sticky"));
    assert_eq!(code, 0, "a should does not decide: {page}");
    assert!(page.contains("shoulds not met: ORD-2"), "{page}");
    let file = ".registry-conform/ORD-2.json";
    let (adapter, broken) =
        (here("adapters/javascript/adapter.mjs"), here("tests/adapters/broken.mjs"));
    let again = conform(&place.0, &["replay", file, "--", "node", &adapter, &broken, "Sticky"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(!String::from_utf8(again.stdout).unwrap().contains("is not broken"));
    let mended = conform(&place.0, &["replay", file, "--", "node", &adapter]);
    assert_eq!(mended.status.code(), Some(0));
    assert!(
        String::from_utf8(mended.stdout).unwrap().contains("ORD-2 is not broken by this script")
    );
}

#[test]
fn a_transcript_has_both_sides() {
    let place = Place::new("transcript");
    let (code, _) = run(&place, &["--transcript", "said"], None);
    let said = fs::read_to_string(place.0.join("said")).unwrap();
    assert_eq!(code, 0);
    assert!(
        said.starts_with("> {\"type\":\"hello\",\"protocol\":1}\n< {\"type\":\"hello\""),
        "{said:.200}"
    );
    let asked = said.matches("\n> {\"type\":\"run\"").count();
    assert!(asked > 60, "the fixed scripts, and sixty more: {asked}");
    assert_eq!(asked, said.matches("\n< {\"type\":\"trace\"").count());
}

#[test]
fn the_doctor_finds_a_broken_adapter() {
    let place = Place::new("sick");
    for (mode, words) in
        [("idle", "missing from the trace"), ("hushes", "sink 0 threw is not what its rules say")]
    {
        let output =
            conform(&place.0, &["doctor", "--", "node", &here("tests/adapters/cheat.mjs"), mode]);
        assert_eq!(output.status.code(), Some(3), "{mode}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(words), "{mode}: {said}");
    }
}

#[test]
fn the_gallery_prints_each_mutant_and_its_requirement() {
    let place = Place::new("gallery");
    let gallery = |names: &[&str]| {
        let words = [&["gallery", "--seed", "3", "--scripts", "10"], names].concat();
        let output = conform(&place.0, &words);
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (code, page) = gallery(&["FoldsCase", "RevokedStay", "DeliversBackwards"]);
    assert_eq!(code, Some(0), "{page}");
    let lines: Vec<Vec<&str>> = page.lines().map(|own| own.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), 5, "a heading, a line for each, a sum: {page}");
    let breaks = "what it breaks, and what it was rejected for";
    assert_eq!(lines[1][..3], ["FoldsCase", "FLT-5", "FLT-5"], "{breaks}");
    assert_eq!(lines[2][..4], ["RevokedStay", "REV-2", "CLO-4", "REV-2"], "{breaks}");
    assert_eq!(lines[3][..4], ["legal:", "DeliversBackwards", "nothing", "accepted"]);
    assert_eq!(lines[4].join(" "), "seed 3: 2 mutants, 1 legal variants, 0 misjudged");
    let (code, page) = gallery(&["FoldsCases"]);
    assert_eq!(code, Some(64));
    assert!(page.contains("there is no registry \"FoldsCases\""), "{page}");
}

#[test]
fn the_other_commands_print_their_texts() {
    let place = Place::new("speak");
    let said = |arguments: &[&str]| String::from_utf8(conform(&place.0, arguments).stdout).unwrap();
    assert!(said(&["explain", "rev-2"]).contains("no send begins on a subscriber"));
    assert!(said(&["list"]).lines().count() > 90);
    assert!(said(&["help"]).contains("registry-conform run"));
    let help = said(&["run", "--help"]);
    assert!(help.contains("--known FILE") && !help.contains("registry-conform replay"), "{help}");
    for command in ["replay", "doctor", "explain", "list", "gallery", "spec"] {
        assert!(
            said(&[command, "--help"]).starts_with(&format!("  registry-conform {command} ")),
            "{command}"
        );
    }
    assert!(said(&["--version"]).contains("protocol 1"));
    let adapter = here("adapters/javascript/adapter.mjs");
    let doctor = said(&["doctor", "--", "node", &adapter]);
    assert!(
        doctor.starts_with(
            "hello: registry.mjs javascript, offers admission core directed scope_cap"
        ),
        "{doctor}"
    );
    assert!(doctor.contains("The adapter does what it should"), "{doctor}");
    assert_eq!(doctor.matches("\nok ").count(), 22, "{doctor}");
}
