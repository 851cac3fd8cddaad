//! The scripted sink.

use std::panic;
use std::sync::{Arc, Mutex};

use super::{Factory, Limits, World, lock, thread};
use crate::script::{Ending, Hook, Script};
use crate::trace::Event;

/// A scripted sink: what the registry under test calls.
#[derive(Clone)]
pub struct Probe {
    world: Arc<World>,
    sink: u32,
    /// Runs when the last clone is dropped.
    _on_drop: Option<Arc<OnDrop>>,
}

struct OnDrop(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some(run) = lock(&self.0).take() {
            run();
        }
    }
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Probe({})", self.sink)
    }
}

impl Probe {
    pub(super) fn new(world: &Arc<World>, sink: u32) -> Self {
        Self { world: Arc::clone(world), sink, _on_drop: None }
    }

    /// Which sink this is; two probes of one sink are the same sink.
    #[must_use]
    pub fn sink(&self) -> u32 {
        self.sink
    }

    /// A sink outside of any script, which does `on_drop` when nothing holds it any more.
    #[must_use]
    pub fn lone(on_drop: impl FnOnce() + Send + 'static) -> Self {
        let nothing: Factory = Arc::new(|_| None);
        let world = World::new(&Script::default(), &nothing, Limits::default(), None);
        let on_drop = Arc::new(OnDrop(Mutex::new(Some(Box::new(on_drop)))));
        Self { world, sink: 0, _on_drop: Some(on_drop) }
    }

    /// Takes a message. Returns whether it was accepted; panics where the script says so.
    pub fn send(&self, data: &str) -> bool {
        let thread = thread();
        let event = Event::Send { sink: self.sink, data: data.to_owned(), thread };
        let ending = self.world.sink_call(self.sink, Hook::Send, event);
        self.world.log(Event::Sent { sink: self.sink, threw: ending != Ending::Ok, thread });
        if ending == Ending::Throw {
            panic::resume_unwind(Box::new("the script says so"));
        }
        ending == Ending::Ok
    }

    /// Notifies the sink of the end. Panics where the script says so.
    pub fn close(&self, reason: Option<&str>) {
        let thread = thread();
        let event = Event::Close { sink: self.sink, reason: reason.map(str::to_owned), thread };
        let ending = self.world.sink_call(self.sink, Hook::Close, event);
        self.world.log(Event::Closed { sink: self.sink, threw: ending != Ending::Ok, thread });
        if ending != Ending::Ok {
            panic::resume_unwind(Box::new("the script says so"));
        }
    }
}
