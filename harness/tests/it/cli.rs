//! The command line: exit codes, reports, the known-failing file.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn here(path: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path).display().to_string()
}

/// A folder of its own for one test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("registry-conform-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn conform(place: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_registry-conform"));
    command.current_dir(place).args(arguments).output().unwrap()
}

fn run(place: &Place, options: &[&str], class: Option<&str>) -> (i32, String) {
    let (adapter, broken) = (here("adapters/javascript/adapter.mjs"), here("tests/adapters/broken.mjs"));
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
        json["requirements"].as_array().unwrap().iter().any(|line| line["id"] == "REV-2" && line["status"] == "kept")
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
    for part in ["not conforming: ", "REV-2", "After it returned, no send begins", "cause:", "script:", "►", "replay:"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(fs::read_to_string(place.0.join("report.xml")).unwrap().contains("<failure message="));
    assert!(place.0.join(".registry-conform/REV-2.json").exists());
    let replay = conform(&place.0, &["replay", "--lines", ".registry-conform/REV-2.json"]);
    let lines: Vec<String> = String::from_utf8(replay.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 3, "hello, run and bye: {lines:?}");
}

#[test]
fn what_is_known_to_fail_does_not_fail_until_its_day() {
    let place = Place::new("known");
    let known = |expires: &str| {
        format!("[[known]]\nrequirement = \"FLT-6\"\nreason = \"a plain object\"\nexpires = \"{expires}\"\n")
    };
    place.write("known.toml", &known("9999-12-31"));
    let (code, page) = run(&place, &["--known", "known.toml"], Some("Plain"));
    assert_eq!(code, 0, "{page}");
    assert!(page.contains("1 known failures (FLT-6)"), "{page}");
    place.write("known.toml", &known("2000-01-01"));
    assert_eq!(run(&place, &["--known", "known.toml"], Some("Plain")).0, 1);
}

#[test]
fn what_is_known_to_fail_and_does_not_is_stale() {
    let place = Place::new("stale");
    place.write("known.toml", "[[known]]\nrequirement = \"REV-1\"\nreason = \"was so once\"\n");
    let (code, page) = run(&place, &["--known", "known.toml"], None);
    assert_eq!(code, 2);
    assert!(page.contains("Stale: REV-1"), "{page}");
}

#[test]
fn a_part_of_the_suite_can_be_run() {
    let place = Place::new("part");
    assert_eq!(run(&place, &["--only", "rev-2"], Some("Plain")).0, 0, "what is broken is FLT-6");
    assert_eq!(run(&place, &["--only", "FLT-6"], Some("Plain")).0, 1);
    assert_eq!(run(&place, &["--profile", "scope_cap"], None).0, 0);
}

#[test]
fn wrong_usage_exits_with_64() {
    let place = Place::new("usage");
    for arguments in [
        &["frobnicate"][..],
        &["run"],
        &["run", "--frobnicate", "--", "true"],
        &["run", "--only", "REV-99", "--", "true"],
        &["explain", "REV-99"],
        &["run", "--known", "nothing.toml", "--", "true"],
    ] {
        assert_eq!(conform(&place.0, arguments).status.code(), Some(64), "{arguments:?}");
    }
}

#[test]
fn no_adapter_exits_with_3_and_no_time_with_4() {
    let place = Place::new("none");
    for command in ["true", "there-is-no-such-program"] {
        assert_eq!(conform(&place.0, &["run", "--", command]).status.code(), Some(3), "{command}");
    }
    assert_eq!(run(&place, &["--time", "0"], None).0, 5, "no script was judged");
}

#[test]
fn the_other_commands_speak() {
    let place = Place::new("speak");
    let said = |arguments: &[&str]| String::from_utf8(conform(&place.0, arguments).stdout).unwrap();
    assert!(said(&["explain", "rev-2"]).contains("no send begins on those"));
    assert!(said(&["list"]).lines().count() > 90);
    assert!(said(&["help"]).contains("registry-conform run"));
    let adapter = here("adapters/javascript/adapter.mjs");
    assert!(said(&["doctor", "--", "node", &adapter]).contains("The adapter does what it should"));
}
