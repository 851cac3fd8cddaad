//! A connection without its handshake, for the fuzz target `ws_inbound`.

use crate::connection::piped;
use crate::options::WsOptions;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use transport_core::{Admitted, ConnectionTask};

/// Serves an upgraded connection to its end.
pub async fn serve<IO>(io: IO, admitted: Admitted, options: WsOptions)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    piped(io, admitted, Arc::new(options)).run().await;
}
