//! Starts the demo: arguments, signals, exit codes.

use demo::{Options, Reach, Server};
use std::fmt::Display;
use std::future::pending;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

/// It keeps what is alike together, so that what a connection needs lies on few pages.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const HELP: &str = "\
Serves a subscriber registry over server-sent events and WebSocket, with a page to try it.

Usage: demo [OPTIONS]

Options:
  --listen ADDR        Listen on this address and port [default: 127.0.0.1:3000]; port 0 takes any free one
  --admin-token TOKEN  Ask for `Authorization: Bearer TOKEN` on every call that changes something; off loopback such
                       calls are refused without it
  --open               For load tests, on loopback only: admit subscribers without a credential. `?scope=S` and `?group=G`
                       (which may be repeated) name their identities; a scope holds 10 streams at most.
                       `DELETE /api/scopes/S` and `DELETE /api/groups/G` close them
  --portable           Leave the sockets to HTTP, as they are on any other server: to compare
  --help               Show this text
  --version            Show the version

Calls:
  GET    /                        the page
  POST   /api/sessions            sign in: {\"account\":\"ada\"}, and \"channels\":[...] to restrict what it may hear
  GET    /api/session             who the credential is; 204 when nobody
  DELETE /api/sessions/ID         end a session and close its streams
  DELETE /api/accounts/ACCOUNT    end all sessions of an account and close their streams
  GET    /events?channels=a,b     server-sent events
  GET    /ws?channels=a,b         the same over WebSocket
  POST   /api/channels/CHANNEL    broadcast the JSON of the body
  GET    /api/stats, /healthz     counts, liveness
";

struct Arguments {
    listen: SocketAddr,
    admin_token: Option<String>,
    open: bool,
    portable: bool,
}

enum Command {
    Serve(Arguments),
    Help,
    Version,
}

fn main() -> ExitCode {
    match parse(lexopt::Parser::from_env()) {
        Ok(Command::Help) => say(HELP.trim_end()),
        Ok(Command::Version) => say(concat!("demo ", env!("CARGO_PKG_VERSION"))),
        Ok(Command::Serve(arguments)) => return serve(arguments),
        Err(error) => {
            complain(format_args!("{error}\nTry --help."));
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn parse(mut parser: lexopt::Parser) -> Result<Command, lexopt::Error> {
    use lexopt::prelude::*;
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 3000));
    let mut arguments = Arguments { listen, admin_token: None, open: false, portable: false };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("listen") => {
                let value = parser.value()?.string()?;
                arguments.listen = value.parse().map_err(|_| {
                    format!("--listen takes an IP address and a port, such as 127.0.0.1:3001 or [::1]:0, not {value:?}")
                })?;
            }
            Long("admin-token") => {
                let value = parser.value()?.string()?;
                if value.trim() != value || value.is_empty() {
                    return Err("--admin-token takes a text without spaces around it".into());
                }
                arguments.admin_token = Some(value);
            }
            Long("open") => arguments.open = true,
            Long("portable") => arguments.portable = true,
            Long("help") | Short('h') => return Ok(Command::Help),
            Long("version") | Short('V') => return Ok(Command::Version),
            other => return Err(other.unexpected()),
        }
    }
    if arguments.open && Reach::of(arguments.listen) == Reach::Network {
        let listen = arguments.listen;
        return Err(
            format!("--open admits everybody, so it is refused off loopback: {listen} is no loopback address").into()
        );
    }
    Ok(Command::Serve(arguments))
}

fn serve(arguments: Arguments) -> ExitCode {
    demo::take_all_descriptors();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(format_args!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        tokio::select! {
            code = run(arguments) => code,
            () = signals(2) => {
                complain("stopped at once");
                ExitCode::FAILURE
            }
        }
    });
    // Does not wait for what stalls.
    runtime.shutdown_background();
    code
}

async fn run(arguments: Arguments) -> ExitCode {
    let Arguments { listen, admin_token, open, portable } = arguments;
    let network = Reach::of(listen) == Reach::Network;
    if network && admin_token.is_none() {
        complain("no --admin-token: calls that change something will be refused");
    }
    let mut options = Options::new().with_open(open).with_portable(portable);
    if let Some(token) = admin_token {
        options = options.with_admin_token(token);
    }
    let server = match Server::bind(listen, &options).await {
        Ok(server) => server,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let ip = listen.ip();
            let any = SocketAddr::new(ip, 0);
            let other = SocketAddr::new(ip, listen.port().checked_add(1).unwrap_or(3000));
            complain(format_args!(
                "cannot listen on {listen}: address in use. Choose another port with `--listen {other}`, \
                 or let the system choose with `--listen {any}`"
            ));
            return ExitCode::FAILURE;
        }
        Err(error) => {
            complain(format_args!("cannot listen on {listen}: {error}. Choose another address with `--listen ADDR`"));
            return ExitCode::FAILURE;
        }
    };
    let stop = signals(1);
    say(format_args!("listening on http://{}", server.address()));
    let ended = server.run(stop).await;
    say(format_args!("stopped: {} streams were told, {} connections had to be reset", ended.told, ended.reset));
    ExitCode::SUCCESS
}

/// Completes at the nth Ctrl-C or SIGTERM. They are caught from the call on, not only once the future is polled.
#[cfg(unix)]
fn signals(nth: usize) -> impl Future<Output = ()> + Send + 'static {
    use tokio::signal::unix::{SignalKind, signal};
    let caught = signal(SignalKind::interrupt()).and_then(|int| Ok((int, signal(SignalKind::terminate())?)));
    async move {
        // Signals that cannot be caught end the process by themselves.
        let Ok((mut interrupt, mut terminate)) = caught else { return pending().await };
        for _ in 0..nth {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
    }
}

/// Completes at the nth Ctrl-C.
#[cfg(not(unix))]
async fn signals(nth: usize) {
    for _ in 0..nth {
        if tokio::signal::ctrl_c().await.is_err() {
            return pending().await;
        }
    }
}

/// Prints a line. That nobody listens is no reason to stop.
fn say(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn complain(line: impl Display) {
    let _ = writeln!(io::stderr(), "demo: {line}");
}
