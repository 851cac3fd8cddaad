//! The dependencies between the crates, as `cargo metadata` lists them, point inward.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The resolved graph: package names by id, and edges (from, to, and whether only for tests).
struct Graph {
    names: BTreeMap<String, String>,
    edges: Vec<(String, String, bool)>,
}

impl Graph {
    fn read() -> Self {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
        // Only for this platform, because a build does not download the dependencies of others.
        let version = cargo(&["-vV"]);
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
        let metadata =
            ["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform", host];
        let metadata: Value =
            serde_json::from_str(&cargo(&[&metadata[..], &["--manifest-path", manifest]].concat()))
                .unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let list = |value: &Value| value.as_array().unwrap().clone();
        let names = list(&metadata["packages"])
            .iter()
            .map(|p| (text(&p["id"]), text(&p["name"])))
            .collect();
        let mut edges = Vec::new();
        for node in list(&metadata["resolve"]["nodes"]) {
            for dependency in list(&node["deps"]) {
                let for_tests =
                    list(&dependency["dep_kinds"]).iter().all(|kind| kind["kind"] == "dev");
                edges.push((text(&node["id"]), text(&dependency["pkg"]), for_tests));
            }
        }
        Self { names, edges }
    }

    fn id(&self, name: &str) -> &str {
        self.names
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(id, _)| id)
            .unwrap_or_else(|| panic!("no {name}"))
    }

    /// Every crate that a crate's own code depends on, directly or not.
    fn tree(&self, name: &str) -> BTreeSet<&str> {
        let mut seen = BTreeSet::new();
        let mut open = vec![self.id(name)];
        while let Some(from) = open.pop() {
            for (_, to, _) in
                self.edges.iter().filter(|(id, _, for_tests)| id == from && !for_tests)
            {
                if seen.insert(to.as_str()) {
                    open.push(to);
                }
            }
        }
        seen.into_iter().map(|id| self.names[id].as_str()).collect()
    }

    /// The direct dependencies of a crate, including those of its tests.
    fn named(&self, name: &str) -> BTreeSet<&str> {
        let id = self.id(name);
        self.edges
            .iter()
            .filter(|(from, ..)| from == id)
            .map(|(_, to, _)| self.names[to].as_str())
            .collect()
    }
}

#[test]
fn dependencies_point_inward() {
    let graph = Graph::read();
    let crates =
        ["registry-core", "transport-core", "transport-sse", "transport-ws", "harness", "demo"];

    let core = graph.tree("registry-core");
    assert!(core.contains("bytes"), "the test sees nothing: {core:?}");
    let forbidden_to_core = [
        "tokio",
        "async-std",
        "smol",
        "futures-executor",
        "http",
        "http-body",
        "hyper",
        "axum",
        "tungstenite",
    ];
    for name in core.iter().copied().chain(graph.named("registry-core")) {
        assert!(
            !forbidden_to_core.contains(&name) && !name.starts_with("async-"),
            "registry-core knows {name}"
        );
        let own = name == "registry-core"; // its tests need a feature of it
        assert!(own || !crates.contains(&name), "registry-core depends on {name}");
    }

    let allowed: [(&str, &[&str]); 5] = [
        ("transport-core", &["registry-core"]),
        ("transport-sse", &["registry-core", "transport-core"]),
        ("transport-ws", &["registry-core", "transport-core"]),
        ("harness", &["registry-core"]),
        ("demo", &["registry-core", "transport-core", "transport-sse", "transport-ws"]),
    ];
    for (name, allowed) in allowed {
        for other in graph.tree(name).intersection(&crates.into()) {
            assert!(allowed.contains(other), "{name} depends on {other}");
        }
    }
    // Tests may depend on the harness, and on nothing that points outward.
    for (name, forbidden) in [("transport-sse", "transport-ws"), ("transport-ws", "transport-sse")]
    {
        assert!(
            !graph.named(name).contains(forbidden),
            "the tests of {name} depend on {forbidden}"
        );
    }
    assert!(
        graph.named("harness").iter().all(|name| !name.starts_with("transport-")),
        "harness knows a transport"
    );
}
