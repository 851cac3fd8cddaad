//! The program itself: arguments, messages, signals, exit codes.

use crate::client::{Sse, TestServer, Ws, call, within};
use demo::{Options, Reach};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
#[cfg(unix)]
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};

const DEMO: &str = env!("CARGO_BIN_EXE_demo");

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(DEMO);
    command.args(arguments).env_remove("DEMO_ADMIN_TOKEN");
    piped(command)
}

/// The demo in a process that a shell prepared.
#[cfg(unix)]
fn demo_after(shell: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{shell}; exec \"$0\" \"$@\""), DEMO]).args(arguments);
    piped(command)
}

fn piped(mut command: Command) -> Command {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = within(demo(arguments).output()).await.unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Starts a server on a free port and reads where it listens.
async fn start(arguments: &[&str]) -> (Child, SocketAddr, Lines<BufReader<ChildStdout>>) {
    started(demo(&[&FREE_PORT, arguments].concat())).await
}

const FREE_PORT: [&str; 2] = ["--listen", "127.0.0.1:0"];

async fn started(mut command: Command) -> (Child, SocketAddr, Lines<BufReader<ChildStdout>>) {
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = within(lines.next_line()).await.unwrap().expect("it says where it listens");
    let address = line.strip_prefix("listening on http://").unwrap().parse().unwrap();
    (child, address, lines)
}

#[tokio::test]
async fn help_and_version_are_no_errors() {
    let (code, out, _) = run(&["--help"]).await;
    assert_eq!(code, 0);
    for option in [
        "--listen",
        "--admin-token ",
        "--admin-token-file",
        "DEMO_ADMIN_TOKEN",
        "--max-connections",
        "--open",
        "--authorise-delay",
        "--portable",
    ] {
        assert!(out.contains(option), "{option}: {out}");
    }
    assert!(out.contains(&format!("[default: {},", Options::DEFAULT_MAX_CONNECTIONS)), "{out}");
    assert!(
        out.contains(&format!(
            "lasts {} hours",
            Options::DEFAULT_SESSION_LIFETIME.as_secs() / 3600
        )),
        "{out}"
    );
    let server = TestServer::with(Reach::Loopback, Options::new().with_open(true)).await;
    let parts_of_the_page = ["/app.css", "/app.js", "/icon.svg"];
    for call in server.calls.iter().filter(|call| !parts_of_the_page.contains(&call.path)) {
        let describes = |text: &str| {
            let text = text
                .trim_start()
                .split(|c: char| c.is_whitespace() || c == '`' || c == '?')
                .next()
                .unwrap();
            let (said, known): (Vec<_>, Vec<_>) =
                (text.split('/').collect(), call.path.split('/').collect());
            said.len() == known.len()
                && said.iter().zip(known).all(|(said, known)| {
                    *said == known || (known.starts_with('{') && !said.is_empty())
                })
        };
        // To a reader, the call for the empty name of a channel is the call for a channel.
        assert!(
            out.split(call.method.as_str()).skip(1).any(describes) || call.path == "/api/channels/",
            "{call:?}: {out}"
        );
    }
    let (code, out, _) = run(&["--version"]).await;
    assert_eq!((code, out.as_str()), (0, concat!("demo ", env!("CARGO_PKG_VERSION"), "\n")));
}

#[tokio::test]
async fn wrong_arguments_are_explained() {
    for (arguments, expected) in [
        (&["--listen", "nowhere"][..], "--listen takes an IP address and a port"),
        (&["--listen"], "--listen"),
        (&["--port", "1"], "--port"),
        (&["extra"], "extra"),
        (&["--admin-token", ""], "--admin-token takes printable ASCII"),
        (&["--admin-token", " x"], "--admin-token takes printable ASCII"),
        (&["--admin-token", "ä"], "--admin-token takes printable ASCII"),
        (
            &["--admin-token", "x", "--admin-token", "y"],
            "given twice, by --admin-token and by --admin-token",
        ),
        (&["--max-connections", "0"], "--max-connections takes a number from 1 on"),
        (&["--max-connections", "many"], "--max-connections takes a number from 1 on"),
        (&["--open", "--listen", "0.0.0.0:0"], "refused off loopback"),
        (&["--listen", "192.0.2.1:80", "--open"], "refused off loopback"),
        (&["--listen", "0.0.0.0:0", "--authorise-delay", "1"], "refused off loopback"),
        (&["--authorise-delay", "9001"], "9000 at most, not \"9001\""),
        (&["--authorise-delay", "soon"], "takes milliseconds"),
    ] {
        let (code, out, error) = run(arguments).await;
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(error.contains(expected) && error.contains("--help"), "{error}");
    }
}

#[cfg(unix)]
fn ignores_hang_ups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or_default();
    ignored.ends_with(['1', '3', '5', '7', '9', 'b', 'd', 'f'])
}

#[cfg(unix)]
#[tokio::test]
async fn drn_3_a_signal_sends_farewells_and_ends_the_process() {
    // Under `nohup`, the tests themselves and all that they start ignore a hang-up.
    let hang_up = (!ignores_hang_ups()).then_some("-HUP");
    for signal in ["-TERM", "-INT"].into_iter().chain(hang_up) {
        let (mut child, address, mut lines) = start(&[]).await;

        let taken = address.to_string();
        let (code, _, error) = run(&["--listen", &taken]).await;
        assert_eq!(code, 1);
        assert!(
            error.contains("address in use") && error.contains("--listen 127.0.0.1:0"),
            "{error}"
        );

        let json = [("content-type", "application/json")];
        let login =
            call(address, "POST", "/api/sessions", &json, br#"{"account":"ada"}"#).await.json();
        let Value::String(token) = &login["token"] else { panic!("{login}") };
        let bearer = format!("Bearer {token}");
        let mut sse = Sse::open(address, "/events", &[("authorization", &bearer)]).await.unwrap();
        let mut ws = Ws::open(address, "/ws", &[("authorization", &bearer)]).await.unwrap();

        let pid = child.id().unwrap().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().await.unwrap().success());
        assert_eq!(sse.farewell().await, "shutdown");
        assert_eq!(ws.farewell().await, (1001, "shutdown".into()));
        drop((sse, ws));
        assert_eq!(within(child.wait()).await.unwrap().code(), Some(0), "{signal}");
        let line = within(lines.next_line()).await.unwrap();
        assert_eq!(
            line.as_deref(),
            Some("stopped: 2 streams were notified, 0 connections had to be reset")
        );
        let mut error = String::new();
        within(child.stderr.take().unwrap().read_to_string(&mut error)).await.unwrap();
        assert_eq!(error, "");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn open_mode_is_an_argument() {
    let (mut child, address, _lines) = start(&["--open"]).await;
    let mut stream = Sse::open(address, "/events?group=g", &[]).await.unwrap();
    assert_eq!(call(address, "DELETE", "/api/groups/g", &[], b"").await.json()["closed"], 1);
    assert_eq!(stream.farewell().await, "revoked");
    child.kill().await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn the_demo_keeps_ignoring_a_sighup_that_its_parent_ignored() {
    let (mut child, address, _lines) = started(demo_after("trap '' HUP", &FREE_PORT)).await;
    let pid = child.id().unwrap().to_string();
    let kill = async |signal: &str| {
        Command::new("kill").args([signal, &pid]).status().await.unwrap().success()
    };
    assert!(kill("-HUP").await);
    // Without streams, a server that begins to end exits at once.
    for _ in 0..50 {
        assert_eq!(call(address, "GET", "/healthz", &[], b"").await.status, 200);
    }
    assert!(kill("-TERM").await);
    assert_eq!(within(child.wait()).await.unwrap().code(), Some(0));
}

/// A file of its own, gone at the end.
struct TokenFile(PathBuf);

impl TokenFile {
    fn new(name: &str, text: &[u8]) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn the_admin_token_comes_from_a_file_or_the_environment() {
    let file = TokenFile::new("token", b"from the file\r\nand not this\n");
    let bare = TokenFile::new("bare", b"from the file");
    let mut of_environment = demo(&FREE_PORT);
    of_environment.env("DEMO_ADMIN_TOKEN", "from the environment");
    for (command, token) in [
        (demo(&[&FREE_PORT[..], &["--admin-token-file", file.path()]].concat()), "from the file"),
        (demo(&[&FREE_PORT[..], &["--admin-token-file", bare.path()]].concat()), "from the file"),
        (of_environment, "from the environment"),
    ] {
        let (mut child, address, _lines) = started(command).await;
        let bearer = format!("Bearer {token}");
        assert_eq!(
            call(address, "DELETE", "/api/accounts/ada", &[], b"").await.status,
            401,
            "{token}"
        );
        let right = [("authorization", bearer.as_str())];
        assert_eq!(
            call(address, "DELETE", "/api/accounts/ada", &right, b"").await.status,
            200,
            "{token}"
        );
        child.kill().await.unwrap();
    }
}

#[tokio::test]
async fn the_admin_token_has_one_source_and_one_that_holds_it() {
    let (file, empty) = (TokenFile::new("full", b"x\n"), TokenFile::new("empty", b""));
    let (blank, padded) = (TokenFile::new("blank", b"\nx\n"), TokenFile::new("padded", b"x \n"));
    let binary = TokenFile::new("binary", b"\xff\xfe\n");
    let missing = format!("{}-missing", file.path());
    for (environment, arguments, expected) in [
        (
            None,
            &["--admin-token", "x", "--admin-token-file", file.path()][..],
            "by --admin-token and by --admin-token-file",
        ),
        (Some("x"), &["--admin-token", "x"], "by DEMO_ADMIN_TOKEN and by --admin-token"),
        (
            Some("x"),
            &["--admin-token-file", file.path()],
            "by DEMO_ADMIN_TOKEN and by --admin-token-file",
        ),
        (Some(""), &[], "DEMO_ADMIN_TOKEN takes printable ASCII"),
        (None, &["--admin-token-file", &missing], "put the token into its first line"),
        (
            None,
            &["--admin-token-file", env!("CARGO_TARGET_TMPDIR")],
            "put the token into its first line",
        ),
        (None, &["--admin-token-file", empty.path()], "no token in the first line"),
        (None, &["--admin-token-file", blank.path()], "no token in the first line"),
        (None, &["--admin-token-file", binary.path()], "put the token into its first line"),
        (
            None,
            &["--admin-token-file", padded.path()],
            "takes printable ASCII, without spaces around it",
        ),
    ] {
        let mut command = demo(arguments);
        if let Some(token) = environment {
            command.env("DEMO_ADMIN_TOKEN", token);
        }
        let Output { status, stdout, stderr } = within(command.output()).await.unwrap();
        let error = String::from_utf8(stderr).unwrap();
        assert_eq!((status.code(), stdout.len()), (Some(2), 0), "{arguments:?}: {error}");
        assert!(error.contains(expected) && error.contains("--help"), "{error}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn where_descriptors_are_few_the_server_answers_503() {
    let few = demo_after("ulimit -n 300", &[&FREE_PORT[..], &["--open"]].concat());
    let (mut child, address, _lines) = started(few).await;

    let (mut streams, mut refused) = (Vec::new(), 0);
    for _ in 0..400 {
        match Sse::open(address, "/events", &[]).await {
            Ok(stream) => streams.push(stream),
            Err(response) => {
                assert_eq!((response.status, response.header("retry-after")), (503, Some("1")));
                assert!(response.error().contains("too many connections"), "{response:?}");
                refused += 1;
            }
        }
    }
    assert_eq!((streams.len(), refused), (172, 228));
    drop(streams.pop());
    let stats = loop {
        let response = call(address, "GET", "/api/stats", &[], b"").await;
        if response.status == 200 {
            break response.json();
        }
    };
    let connections = &stats["connections"];
    assert_eq!(
        (&connections["limit"], &connections["out_of_descriptors"]),
        (&172.into(), &0.into())
    );
    assert!(connections["refused"].as_u64().unwrap() >= 228, "{connections}");
    child.kill().await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_limit_that_does_not_fit_is_lowered_and_reported() {
    for (asked, limit) in [("1000", 172), ("173", 172), ("172", 172), ("7", 7)] {
        let few =
            demo_after("ulimit -n 300", &[&FREE_PORT[..], &["--max-connections", asked]].concat());
        let (mut child, address, _lines) = started(few).await;
        let stats = call(address, "GET", "/api/stats", &[], b"").await.json();
        assert_eq!(stats["connections"]["limit"], limit, "{asked}");
        child.kill().await.unwrap();
        let mut error = String::new();
        within(child.stderr.take().unwrap().read_to_string(&mut error)).await.unwrap();
        let line = format!(
            "172 connections at most, not {asked}: the process has 300 descriptors. \
             Raise `ulimit -n`"
        );
        assert_eq!(error.contains(&line), !matches!(asked, "172" | "7"), "{asked}: {error}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn connections_that_wait_for_descriptors_are_counted_and_reported() {
    let few = demo_after("ulimit -n 60", &[&FREE_PORT[..], &["--max-connections", "1"]].concat());
    let (mut child, address, _lines) = started(few).await;
    let mut error = BufReader::new(child.stderr.take().unwrap()).lines();
    // The first is served, and the others are refused and do not read it, until no descriptor is
    // left for one more.
    let served = TcpStream::connect(address).await.unwrap();
    let mut waiting = Vec::new();
    for _ in 0..100 {
        waiting.push(TcpStream::connect(address).await.unwrap());
    }
    let line = within(error.next_line()).await.unwrap().unwrap();
    assert!(
        line.contains("connections wait, because no descriptor is left")
            && line.contains("ulimit -n"),
        "{line}"
    );
    drop((served, waiting));
    let stats = loop {
        let response = call(address, "GET", "/api/stats", &[], b"").await;
        if response.status == 200 {
            break response.json();
        }
    };
    assert!(stats["connections"]["out_of_descriptors"].as_u64().unwrap() > 0, "{stats}");
    child.kill().await.unwrap();
}

/// The thread gives unused memory back, also when the server has nothing to do.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[tokio::test]
async fn que_3_the_allocator_has_a_thread_of_its_own() {
    let (mut child, _address, _lines) = start(&[]).await;
    let tasks = format!("/proc/{}/task", child.id().unwrap());
    let names = || {
        let names =
            std::fs::read_dir(&tasks).unwrap().flatten().map(|task| task.path().join("comm"));
        names.filter_map(|name| std::fs::read_to_string(name).ok()).collect::<Vec<_>>()
    };
    within(async {
        while !names().iter().any(|name| name.starts_with("jemalloc_bg")) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    child.kill().await.unwrap();
}

#[tokio::test]
async fn the_tour_shows_that_every_promise_holds_and_fails_elsewhere() {
    let (code, out, error) = run(&["tour"]).await;
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    assert_eq!(out.matches(": holds\n").count(), 5, "{out}");
    for seen in [
        "the stream 503",
        "heard 1 broadcast",
        "which its own system held",
        "KiB more after it was revoked",
        "got 0 of them: revoked",
        "still gave out 1000 of them",
        "the call answered 100 after",
        "100 of them got it",
        "answered 20000 together, and 20000 ended",
        "counted 40000",
    ] {
        assert!(out.contains(seen), "{seen}: {out}");
    }
    let (code, _, error) = run(&["tour", "--open"]).await;
    assert_eq!(code, 2, "{error}");
}
