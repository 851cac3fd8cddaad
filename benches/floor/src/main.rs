//! The least that any server can do for its subscribers: one frame, encoded once, and one `send`
//! for each connection.
//!
//! It keeps nothing but a list of sockets for each channel and has no promise but delivery: no
//! ends, no bounds, no timers. With `--batch` it reads all requests that are ready before it sends
//! what they published, joined, with one `send` for each connection.
//!
//! `GET /sse/{channel}`, `GET /ws/{channel}`, `POST /pub/{channel}`.

mod request;
mod server;

use server::Server;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Box<dyn Error>> {
    use lexopt::prelude::*;
    let (mut listen, mut batch) = (SocketAddr::from(([127, 0, 0, 1], 0)), false);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("listen") => listen = parser.value()?.parse()?,
            Long("batch") => batch = true,
            other => return Err(other.unexpected().into()),
        }
    }
    Server::bind(listen, batch)?.run()?;
    Ok(())
}
