//! The signals that end a run early.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown, register_usize};

use super::report::Exit;

/// Whether, and by which signal, this process was asked to end.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop {
    asked: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

impl Stop {
    /// From now on the first SIGINT or SIGTERM asks, and the second ends the process at once.
    pub(super) fn listen(&self) -> io::Result<()> {
        for signal in [SIGINT, SIGTERM] {
            // The order counts: the first one finds that nobody has asked yet.
            register_conditional_shutdown(signal, 128 + signal, Arc::clone(&self.asked))?;
            register_usize(signal, Arc::clone(&self.signal), signal as usize)?;
            register(signal, Arc::clone(&self.asked))?;
        }
        Ok(())
    }

    /// How the process is to end, if it was asked to.
    pub(super) fn exit(&self) -> Option<Exit> {
        let interrupted = self.signal.load(Ordering::SeqCst) == SIGINT as usize;
        let exit = if interrupted { Exit::Interrupted } else { Exit::Terminated };
        self.asked.load(Ordering::SeqCst).then_some(exit)
    }
}
