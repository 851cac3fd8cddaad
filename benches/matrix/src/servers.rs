//! The servers that are measured, and how to talk to each.

use crate::build::{Binaries, directory};
use crate::cases::Wire;
use crate::pin::bound;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How a server is started on a port, with its files in a directory of its own.
type Start = Box<dyn Fn(u16, &Path) -> crate::Result<Command>>;

pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) label: &'static str,
    start: Start,
    sse: Option<&'static str>,
    ws: Option<&'static str>,
    publish: &'static str,
    /// What to DELETE to end connection `{i}`.
    pub(crate) revoke: Option<&'static str>,
    /// Further arguments of the load generator.
    pub(crate) handshake: &'static [&'static str],
    /// Why it cannot be measured here.
    pub(crate) missing: Option<String>,
}

/// The name of what all are compared with.
pub(crate) const FLOOR: &str = "floor";
/// The name of the floor that joins what is ready.
pub(crate) const BATCHING: &str = "floor-batching";
/// The name of this project's server.
pub(crate) const DEMO: &str = "demo";
/// The same, where no socket is the library's.
pub(crate) const PORTABLE: &str = "portable";

impl Server {
    fn new(name: &str, label: &'static str, start: Start) -> Self {
        Self {
            name: name.to_owned(),
            label,
            start,
            sse: Some("/sse/{c}"),
            ws: Some("/ws/{c}"),
            publish: "/pub/{c}",
            revoke: None,
            handshake: &[],
            missing: None,
        }
    }

    pub(crate) fn is_floor(&self) -> bool {
        self.name == FLOOR || self.name == BATCHING
    }

    /// The path to subscribe on, if it speaks this wire.
    pub(crate) fn path(&self, wire: Wire) -> Option<&'static str> {
        match wire {
            Wire::Sse => self.sse,
            Wire::Ws => self.ws,
        }
    }

    pub(crate) fn publish_url(&self, port: u16) -> String {
        format!("http://127.0.0.1:{port}{}", self.publish)
    }

    pub(crate) fn command(&self, port: u16, files: &Path) -> crate::Result<Command> {
        (self.start)(port, files)
    }
}

/// All servers, also those that are not installed.
pub(crate) fn all(binaries: &Binaries) -> Vec<Server> {
    let own = |name: &str, arguments: &'static [&'static str]| {
        let program = binaries.benches.join(name);
        listening(program, arguments)
    };
    let demo = |name: &str, label, arguments| Server {
        sse: Some("/events?channels={c}&group=g{i}"),
        ws: Some("/ws?channels={c}&group=g{i}"),
        publish: "/api/channels/{c}",
        revoke: Some("/api/groups/g{i}"),
        ..Server::new(name, label, listening(binaries.demo.clone(), arguments))
    };
    vec![
        Server::new(FLOOR, "bare floor", own("floor", &[])),
        Server::new(BATCHING, "batching floor", own("floor", &["--batch"])),
        demo(DEMO, "subscriber registry", &["--open"]),
        demo(PORTABLE, "its portable path", &["--open", "--portable"]),
        Server::new("naive", "axum, as taught", own("naive", &[])),
        Server {
            sse: None,
            ws: Some("/socket.io/?EIO=4&transport=websocket&channel={c}"),
            handshake: &["--say", "40", "--ready", "joined"],
            ..Server::new("socketioxide", "socketioxide", own("peer-socketioxide", &[]))
        },
        node(),
        nchan(),
    ]
}

fn listening(program: PathBuf, arguments: &'static [&'static str]) -> Start {
    Box::new(move |port, _| {
        let mut command = bound(&program);
        command.args(["--listen", &format!("127.0.0.1:{port}")]).args(arguments);
        Ok(command)
    })
}

fn node() -> Server {
    let script = directory().join("node/server.js");
    let missing = program("node").is_none().then(|| "node is not installed".to_owned());
    let start: Start = Box::new(move |port, _| {
        let mut command = bound("node");
        command.arg(&script).arg(port.to_string());
        Ok(command)
    });
    Server { missing, ..Server::new("node", "Node, a plain loop", start) }
}

fn nchan() -> Server {
    let nginx = std::env::var_os("NGINX_PROGRAM").map(PathBuf::from).or_else(|| program("nginx"));
    let module = std::env::var_os("NCHAN_MODULE").map(PathBuf::from);
    let module = module.unwrap_or_else(|| "/usr/lib/nginx/modules/ngx_nchan_module.so".into());
    let missing = match &nginx {
        None => Some("nginx is not installed (Debian: libnginx-mod-nchan)".to_owned()),
        Some(_) if !module.exists() => {
            Some("nchan is not installed (Debian: libnginx-mod-nchan)".to_owned())
        }
        Some(_) => None,
    };
    let nginx = nginx.unwrap_or_default();
    let start: Start = Box::new(move |port, files| {
        let configuration = std::fs::read_to_string(directory().join("nchan/nginx.conf"))?
            .replace("@PORT@", &port.to_string())
            .replace("@MODULE@", &module.to_string_lossy());
        let file = files.join("nginx.conf");
        std::fs::write(&file, configuration)?;
        let mut command = bound(&nginx);
        command.arg("-p").arg(files).arg("-c").arg(&file).arg("-e").arg(files.join("error.log"));
        Ok(command)
    });
    Server { missing, ..Server::new("nchan", "nchan (nginx)", start) }
}

/// Where a program is.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    places.map(|place| place.join(name)).find(|file| file.is_file())
}
