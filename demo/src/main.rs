//! Starts the demo: arguments, signals, exit codes.

mod arguments;
mod shortage;
mod signals;
mod tour;

use arguments::{Arguments, Command, HELP, TOKEN_VARIABLE, parse};
use demo::{Options, Reach, Server};
use signals::signals;
use std::env;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::process::ExitCode;

/// jemalloc groups allocations by size, so a connection touches fewer pages.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match parse(lexopt::Parser::from_env(), env::var_os(TOKEN_VARIABLE)) {
        Ok(Command::Help) => say(HELP.trim_end()),
        Ok(Command::Version) => say(concat!("demo ", env!("CARGO_PKG_VERSION"))),
        Ok(Command::Serve(arguments)) => return serve(arguments),
        Ok(Command::Tour) => return on_a_runtime(tour::tour()),
        Err(error) => {
            complain(format_args!("{error}\nTry --help."));
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn serve(arguments: Arguments) -> ExitCode {
    let max_connections = connections(arguments.max_connections, demo::take_all_descriptors());
    on_a_runtime(async {
        tokio::select! {
            code = run(arguments, max_connections) => code,
            () = signals(2) => {
                complain("stopped at once");
                ExitCode::FAILURE
            }
        }
    })
}

fn on_a_runtime(program: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(format_args!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(program);
    // Does not wait for a task that stalls.
    runtime.shutdown_background();
    code
}

/// Returns how many connections there may be: as many as were asked for, if the descriptors
/// suffice.
fn connections(asked: Option<NonZeroUsize>, descriptors: Option<usize>) -> NonZeroUsize {
    let wanted = asked.unwrap_or(Options::DEFAULT_MAX_CONNECTIONS);
    let Some(descriptors) = descriptors else { return wanted };
    let most = demo::connections_within(descriptors);
    if let Some(asked) = asked.filter(|asked| *asked > most) {
        complain(format_args!(
            "{most} connections at most, not {asked}: the process has {descriptors} descriptors. \
             Raise `ulimit -n`"
        ));
    }
    wanted.min(most)
}

async fn run(arguments: Arguments, max_connections: NonZeroUsize) -> ExitCode {
    let Arguments { listen, admin_token, open, portable, authorise_delay, .. } = arguments;
    let network = Reach::of(listen) == Reach::Network;
    if network && admin_token.is_none() {
        complain("no --admin-token-file: the calls of administrators will be refused");
    }
    let mut options = Options::new()
        .with_open(open)
        .with_authorise_delay(authorise_delay)
        .with_portable(portable)
        .with_max_connections(max_connections);
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
                "cannot listen on {listen}: address in use. Choose another port with \
                 `--listen {other}`, or let the system choose with `--listen {any}`"
            ));
            return ExitCode::FAILURE;
        }
        Err(error) => {
            complain(format_args!(
                "cannot listen on {listen}: {error}. Choose another address with `--listen ADDR`"
            ));
            return ExitCode::FAILURE;
        }
    };
    let stop = signals(1);
    let metrics = server.metrics();
    let failed = move || metrics.stats().out_of_descriptors;
    tokio::spawn(shortage::report(failed, |line| complain(line)));
    say(format_args!("listening on http://{}", server.address()));
    let ended = server.run(stop).await;
    say(format_args!(
        "stopped: {} streams were notified, {} connections had to be reset",
        ended.notified, ended.reset
    ));
    ExitCode::SUCCESS
}

/// Prints a line. A closed output is no reason to stop.
fn say(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn complain(line: impl Display) {
    let _ = writeln!(io::stderr(), "demo: {line}");
}
