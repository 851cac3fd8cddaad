//! The arguments of the program, and its variable of the environment.

use demo::Reach;
use lexopt::prelude::*;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

/// The variable of the environment that can hold the admin token.
pub(crate) const TOKEN_VARIABLE: &str = "DEMO_ADMIN_TOKEN";

/// The longest delay, in milliseconds: a login check is given up after 10 s.
const MAX_AUTHORISE_DELAY: u64 = 9_000;

/// How much of a file is read in search of its first line's end.
const MAX_TOKEN_BYTES: u64 = 4096;

pub(crate) const HELP: &str = "\
Serves a subscriber registry over server-sent events and WebSocket, with a page to try it.

Usage: demo [OPTIONS]
       demo tour              Show what is promised, on a server of its own, in seconds

Options:
  --listen ADDR            Listen on this address and port [default: 127.0.0.1:3000];
                           port 0 takes any free one
  --admin-token-file PATH  Ask for `Authorization: Bearer TOKEN` on the calls of
                           administrators, marked * below; TOKEN is the first line of the
                           file. Off loopback these calls are refused without a token.
                           After ten wrong ones in a minute from one address (in IPv6, one
                           /64) that address is answered `429` with `Retry-After`, even if
                           it sends the right one, until the minute is over
  --admin-token TOKEN      The same; but the list of processes shows it to every user of
                           the machine
  --max-connections N      Answer `503` to more connections [default: 20000, or what
                           `ulimit -n` has room for]. A number that the process has no room
                           for is lowered, with a message
  --open                   For load tests, on loopback only: admit subscribers without a
                           credential. `?scope=S` and `?group=G` (which may be repeated)
                           name their identities; a scope holds 10 streams at most.
                           `DELETE /api/scopes/S` and `DELETE /api/groups/G` close them
  --portable               Leave the sockets to HTTP, as on any other server: to compare
  --authorise-delay MS     On loopback only: let the login check of a stream take so many
                           milliseconds [at most 9000] after it has read the session. A
                           revocation that comes meanwhile refuses the stream
  --help                   Show this text
  --version                Show the version

Environment:
  DEMO_ADMIN_TOKEN         The admin token, instead of an option

Calls:
  GET    /                               the page
  GET    /live.js                        the script by which a page stays connected
  POST   /api/sessions                 * sign in: {\"account\":\"ada\"}, and \"channels\":[...]
                                         to restrict what it may hear; a session
                                         lasts 24 hours, and its streams end with it
  GET    /api/session                    the session of the credential; 204 without one, 401
                                         when it is no longer good
  DELETE /api/sessions/ID              * log out: end a session and close its streams, which
                                         stay away
  DELETE /api/accounts/ACCOUNT         * revoke: end all sessions of an account and close
                                         their streams
  PUT    /api/accounts/ACCOUNT/channels
                                       * set what the sessions that an account has may hear:
                                         {\"channels\":[\"runs\"]}; [] is nothing, null
                                         everything. Their streams are closed and may come
                                         back
  GET    /events?channels=a,b            server-sent events. `envelope=1`: the data is
                                         {\"channel\",\"event\",\"data\"}. `snapshot=1`: an event
                                         `snapshot` comes first, with the last value of each
                                         channel that the stream hears; 10,000 channels and
                                         768 KiB are kept
  GET    /ws?channels=a,b                the same over WebSocket; `snapshot=1` with the
                                         subprotocol `live.v1`
  POST   /api/channels/CHANNEL?event=E * broadcast the JSON of the body; `event` names it
  POST   /api/identities/KIND/VALUE/messages?channel=C&event=E
                                       * send the JSON of the body to the streams of an
                                         account or a session, whatever they hear
  GET    /api/channels?after=A&limit=N * the channels that subscribers name, in the order of
                                         their names: N after A [default: 100 from the first
                                         on; 1000 at most]; \"next\" is the next value of
                                         `after`, null at the end
  GET    /api/subscribers?after=A&limit=N
                                       * the open streams, N after A [default: 100; 200 at
                                         most]: since when (ms since 1970), what waits, what
                                         was lost, and how many ms ago the socket last took
                                         something
  DELETE /api/subscribers/ID           * revoke one stream: it comes back if it may
  GET    /api/stats                      counts
  GET    /healthz                        liveness

SIGINT, SIGTERM and SIGHUP end it: open streams get a farewell, and it exits within 10 s.
";

pub(crate) struct Arguments {
    pub(crate) listen: SocketAddr,
    pub(crate) admin_token: Option<String>,
    pub(crate) max_connections: Option<NonZeroUsize>,
    pub(crate) open: bool,
    pub(crate) portable: bool,
    pub(crate) authorise_delay: Duration,
}

pub(crate) enum Command {
    Serve(Arguments),
    Tour,
    Help,
    Version,
}

/// Reads the arguments; `token` is the variable of the environment.
pub(crate) fn parse(
    mut parser: lexopt::Parser,
    token: Option<OsString>,
) -> Result<Command, lexopt::Error> {
    let mut arguments = Arguments {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 3000)),
        admin_token: None,
        max_connections: None,
        open: false,
        portable: false,
        authorise_delay: Duration::ZERO,
    };
    let mut tokens = Vec::new();
    if let Some(value) = token {
        tokens.push((TOKEN_VARIABLE, checked(TOKEN_VARIABLE, &value)?));
    }
    while let Some(argument) = parser.next()? {
        match argument {
            Long("listen") => {
                let value = parser.value()?.string()?;
                arguments.listen = value.parse().map_err(|_| {
                    format!(
                        "--listen takes an IP address and a port, such as 127.0.0.1:3001 or \
                         [::1]:0, not {value:?}"
                    )
                })?;
            }
            Long("admin-token") => {
                tokens.push(("--admin-token", checked("--admin-token", &parser.value()?)?))
            }
            Long("admin-token-file") => {
                let path = parser.value()?;
                tokens.push(("--admin-token-file", token_in(path.as_ref())?));
            }
            Long("max-connections") => {
                let value = parser.value()?.string()?;
                let connections = value.parse().map_err(|_| {
                    format!("--max-connections takes a number from 1 on, not {value:?}")
                })?;
                arguments.max_connections = Some(connections);
            }
            Long("authorise-delay") => {
                let value = parser.value()?.string()?;
                let delay = value.parse().ok().filter(|delay| *delay <= MAX_AUTHORISE_DELAY);
                let delay = delay.ok_or_else(|| {
                    format!(
                        "--authorise-delay takes milliseconds, {MAX_AUTHORISE_DELAY} at most, not \
                         {value:?}"
                    )
                })?;
                arguments.authorise_delay = Duration::from_millis(delay);
            }
            Long("open") => arguments.open = true,
            Long("portable") => arguments.portable = true,
            Long("help") | Short('h') => return Ok(Command::Help),
            Long("version") | Short('V') => return Ok(Command::Version),
            Value(word) if word == "tour" => {
                return parser.next()?.map_or(Ok(Command::Tour), |more| Err(more.unexpected()));
            }
            other => return Err(other.unexpected()),
        }
    }
    if let [(one, _), (other, _), ..] = tokens[..] {
        return Err(format!(
            "the admin token is given twice, by {one} and by {other}: leave one of them out"
        )
        .into());
    }
    arguments.admin_token = tokens.pop().map(|(_, token)| token);
    let listen = arguments.listen;
    let network = Reach::of(listen) == Reach::Network;
    if network && !arguments.authorise_delay.is_zero() {
        return Err(format!(
            "--authorise-delay makes every login slow, so it is refused off loopback: {listen} is \
             no loopback address"
        )
        .into());
    }
    if arguments.open && network {
        return Err(format!(
            "--open admits every client, so it is refused off loopback: {listen} is no loopback \
             address"
        )
        .into());
    }
    Ok(Command::Serve(arguments))
}

/// Accepts a token that a request can present.
fn checked(source: &str, value: &OsStr) -> Result<String, String> {
    let text = value.to_str().filter(|text| text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    let text = text.filter(|text| !text.is_empty() && text.trim() == *text);
    // The message does not repeat the value: it may be a secret all the same.
    text.map(str::to_owned)
        .ok_or_else(|| format!("{source} takes printable ASCII, without spaces around it"))
}

fn token_in(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let line = first_line(path).map_err(|error| {
        format!(
            "--admin-token-file cannot read {shown} ({error}): put the token into its first line, \
             as text"
        )
    })?;
    if line.is_empty() {
        return Err(format!(
            "--admin-token-file found no token in the first line of {shown}: put it there"
        ));
    }
    checked(&format!("the first line of {shown}, the --admin-token-file,"), line.as_ref())
}

fn first_line(path: &Path) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(File::open(path)?.take(MAX_TOKEN_BYTES)).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
