//! A connection without its handshake, for the fuzz target `ws_inbound`.

use crate::connection::{Protocol, piped};
use crate::live::LIVE;
use crate::options::WsOptions;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use transport_core::{Admitted, ConnectionTask};

/// Serves an upgraded connection to its end; one that speaks `live.v1`, if the outbox is in its
/// format.
pub async fn serve<IO>(io: IO, admitted: Admitted, options: WsOptions)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let is_live = std::ptr::eq(admitted.outbox.format(), &LIVE);
    let protocol = if is_live { Protocol::LiveV1(None) } else { Protocol::Raw };
    piped(io, admitted, Arc::new(options), protocol).run().await;
}
