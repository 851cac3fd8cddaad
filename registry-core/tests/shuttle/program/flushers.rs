//! Threads that serve lanes.

use registry_core::{Clock, Flusher, Progress, SystemClock};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// Wakes the thread of a flusher, when the flusher is woken or the program ends.
#[derive(Default)]
pub(super) struct Bell {
    state: shuttle::sync::Mutex<(bool, bool)>,
    rung: shuttle::sync::Condvar,
}

impl Bell {
    pub(super) fn ring(&self, over: bool) {
        let mut state = self.state.lock().unwrap();
        *state = (true, state.1 || over);
        self.rung.notify_one();
    }

    /// Waits; true at the end of the program.
    fn wait(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        while !state.0 {
            state = self.rung.wait(state).unwrap();
        }
        state.0 = false;
        state.1
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring(false);
    }
}

fn serve(flusher: &mut Flusher<u64>, waker: &Waker) {
    while let Poll::Ready(served) =
        flusher.poll_serve(&mut Context::from_waker(waker), SystemClock.now())
    {
        assert_eq!(served, Progress::More, "the registry lives");
        shuttle::thread::yield_now();
    }
}

/// Starts a thread that serves a lane until its bell is rung for the end of the program.
pub(super) fn start(
    mut flusher: Flusher<u64>,
) -> (Arc<Bell>, shuttle::thread::JoinHandle<Flusher<u64>>) {
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    let rung = bell.clone();
    let running = shuttle::thread::spawn(move || {
        loop {
            serve(&mut flusher, &waker);
            if rung.wait() {
                serve(&mut flusher, &waker);
                // The flusher is returned, because dropping it would end its subscribers.
                return flusher;
            }
        }
    });
    (bell, running)
}
