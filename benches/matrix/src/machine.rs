//! The machine and the programs of a measurement.

use crate::pin::Cores;
use crate::servers::Server;
use std::collections::BTreeMap;
use std::process::Command;

/// The machine and the versions of what ran on it.
pub(crate) fn describe(cores: &Cores, servers: &[Server]) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            facts.insert(name.to_owned(), value);
        }
    };
    let cpu = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let models: Vec<&str> = text
            .lines()
            .filter_map(|line| Some(line.strip_prefix("model name")?.split_once(": ")?.1))
            .collect();
        Some(format!("{} × {}", models.len(), models.first()?))
    });
    fact("processor", cpu);
    fact("cores", Some(format!("server on {}, load generator on {}", cores.server, cores.client)));
    fact("kernel", output("uname", &["-sr"]));
    fact("rustc", output("rustc", &["--version"]));
    fact("commit", output("git", &["describe", "--always", "--dirty"]));
    let runs = |name: &str| servers.iter().any(|server| server.name == name);
    if runs("node") {
        fact("node", output("node", &["--version"]));
    }
    if runs("nchan") {
        fact("nginx", output("dpkg-query", &["--show", "nginx", "libnginx-mod-nchan"]));
    }
    for name in ["axum", "hyper", "tokio", "tokio-tungstenite"] {
        fact(name, locked(include_str!("../../../Cargo.lock"), name));
    }
    fact("socketioxide", locked(include_str!("../../Cargo.lock"), "socketioxide"));
    facts
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .ok()?;
    let text =
        String::from_utf8_lossy(&output.stdout).trim().replace('\n', ", ").replace('\t', " ");
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// The version of a library that is built with this lock file.
fn locked(lock: &str, name: &str) -> Option<String> {
    let (_, entry) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    entry.split('"').next().map(str::to_owned)
}
