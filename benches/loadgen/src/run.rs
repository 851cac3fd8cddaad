//! One run: connect all subscribers, then publish and count.

use crate::Result;
use crate::args::{Args, Mode};
use crate::histogram::Histogram;
use crate::http::Url;
use crate::meter::{Meter, allow_descriptors, own_cpu, own_sleeps};
use crate::poll::Poll;
use crate::publisher::Publisher;
use crate::report::Report;
use crate::stamp::{now, payload};
use crate::subscriber::{Heard, Role, Subscriber};
use crate::victims::Victims;
use std::io::{ErrorKind, Read};
use std::mem;
use std::thread::sleep;
use std::time::Duration;

/// Handshakes in flight: fewer than any listener's backlog.
const HANDSHAKES: usize = 200;
const READ_BYTES: usize = 256 * 1024;
/// How long a wait for readiness lasts at most: the time of a check for a stall.
const TICK: Duration = Duration::from_millis(100);

pub(crate) struct Run {
    args: Args,
    poll: Poll,
    subscribers: Vec<Subscriber>,
    buffer: Vec<u8>,
    victims: Vec<Subscriber>,
    memory_before: u64,
}

/// What is counted while messages flow.
struct Tally {
    published: u64,
    expected: u64,
    delivered: u64,
    reads: u64,
    closed: usize,
    /// The messages sent to each channel.
    sent_to: Vec<Heard>,
    latency: Histogram,
    answers: Histogram,
    last_delivery: u64,
}

impl Tally {
    fn new(channels: usize) -> Self {
        Self {
            published: 0,
            expected: 0,
            delivered: 0,
            reads: 0,
            closed: 0,
            sent_to: vec![Heard::default(); channels],
            latency: Histogram::new(),
            answers: Histogram::new(),
            last_delivery: now(),
        }
    }
}

/// Publishes what is due.
struct Source<'a> {
    url: &'a Url,
    publishers: Vec<Publisher>,
    /// Readers of each channel.
    readers: Vec<u64>,
    next_publish: u64,
}

impl Run {
    /// Opens all connections, and waits until each is subscribed.
    pub(crate) fn connect(args: Args) -> Result<Self> {
        let total = args.conns + args.revoke + args.slow;
        allow_descriptors(total as u64 + 200)?;
        let memory_before = Meter::of(args.pid).memory();
        let mut run = Self {
            poll: Poll::new()?,
            subscribers: Vec::with_capacity(total),
            buffer: vec![0; READ_BYTES],
            victims: Vec::new(),
            memory_before,
            args,
        };
        let (mut live, mut ready) = (0, Vec::new());
        while live < total {
            while run.subscribers.len() < total.min(live + HANDSHAKES) {
                let number = run.subscribers.len();
                let subscriber = Subscriber::open(&run.args, number)?;
                run.poll.add(&subscriber.stream, number)?;
                run.subscribers.push(subscriber);
            }
            run.poll.wait(Duration::from_secs(10), &mut ready)?;
            if ready.is_empty() {
                return Err(format!("only {live} of {total} connections were served").into());
            }
            for number in ready.drain(..) {
                live += usize::from(run.greet(number)?);
            }
        }
        let victims = run.args.conns..run.args.conns + run.args.revoke;
        run.subscribers[victims.clone()]
            .iter()
            .try_for_each(|victim| run.poll.forget(&victim.stream))?;
        run.victims = run.subscribers.drain(victims).collect();
        Ok(run)
    }

    /// Reads from a connection before the run; true when that made its subscription stand.
    fn greet(&mut self, number: usize) -> Result<bool> {
        let subscriber = &mut self.subscribers[number];
        let read = match subscriber.stream.read(&mut self.buffer) {
            Ok(0) => {
                return Err(format!("connection {number} was closed during the handshake").into());
            }
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(format!("connection {number}: {error}").into()),
        };
        if subscriber.is_live() || !subscriber.greet(&self.args, number, &self.buffer[..read])? {
            return Ok(false);
        }
        if subscriber.role == Role::Slow {
            self.poll.forget(&subscriber.stream)?;
        }
        Ok(true)
    }

    /// Reads the idle memory, publishes, and reports.
    pub(crate) fn measure(mut self) -> Result<Report> {
        sleep(Duration::from_millis(self.args.idle_ms));
        let meter = Meter::of(self.args.pid);
        let memory_idle = meter.memory();
        let mut tally = Tally::new(self.args.channels);
        let (mut server, mut client, mut sleeps, mut seconds, mut stalled) =
            (0.0, 0.0, 0, 0.0, false);
        let (mut revoked, mut memory_grown) = (None, 0);
        if let Some(url) = self.args.publish.clone() {
            let mut source = self.source(&url)?;
            stalled = self.flow(&mut source, &mut tally, Mode::Closed, self.args.warmup)?;
            tally = Tally::new(self.args.channels);
            self.subscribers
                .iter_mut()
                .for_each(|subscriber| subscriber.received = Heard::default());
            let (server_before, client_before, sleeps_before) =
                (meter.cpu(), own_cpu(), own_sleeps());
            let memory = meter.forget_peak()?;
            let start = now();
            source.next_publish = start;
            let victims = self.revoke();
            stalled |= self.flow(&mut source, &mut tally, self.args.mode, self.args.messages)?;
            revoked = victims.map(Victims::stop).transpose()?;
            memory_grown = meter.peak().saturating_sub(memory);
            server = meter.cpu() - server_before;
            client = own_cpu() - client_before;
            sleeps = own_sleeps() - sleeps_before;
            seconds = tally.last_delivery.saturating_sub(start) as f64 / 1e9;
        }
        self.settle(&mut tally)?;
        let connections = self.args.conns + self.args.revoke + self.args.slow;
        let revoked_quantile =
            |share| revoked.as_ref().map_or(0.0, |revoked| revoked.took.quantile(share));
        let uneven = |subscriber: &&Subscriber| {
            subscriber.role == Role::Reader
                && subscriber.received != tally.sent_to[subscriber.channel]
        };
        let delivered = tally.delivered as f64;
        let per_delivery = |value: f64| value / delivered.max(1.0);
        Ok(Report {
            connections,
            published: tally.published,
            expected: tally.expected,
            delivered: tally.delivered,
            lost: tally.expected as i64 - tally.delivered as i64,
            uneven: self.subscribers.iter().filter(uneven).count(),
            closed: tally.closed,
            stalled,
            seconds,
            deliveries_per_second: delivered / seconds.max(1e-9),
            latency_p50: tally.latency.quantile(0.5),
            latency_p99: tally.latency.quantile(0.99),
            latency_max: tally.latency.max(),
            answer_p50: tally.answers.quantile(0.5),
            server_cpu_seconds: server,
            cpu_us_per_delivery: per_delivery(server * 1e6),
            cpu_us_per_publish: server * 1e6 / (tally.published as f64).max(1.0),
            client_us_per_delivery: per_delivery(client * 1e6),
            client_sleeps_per_delivery: per_delivery(sleeps as f64),
            deliveries_per_read: delivered / (tally.reads as f64).max(1.0),
            memory_before: self.memory_before,
            memory_idle,
            memory_grown,
            idle_bytes_per_connection: memory_idle.saturating_sub(self.memory_before) as f64
                / (connections as f64).max(1.0),
            revoked: revoked.as_ref().map_or(0, |revoked| revoked.count),
            revoked_p50: revoked_quantile(0.5),
            revoked_p99: revoked_quantile(0.99),
            revoked_max: revoked.as_ref().map_or(0.0, |revoked| revoked.took.max()),
            revoked_ahead: revoked.as_ref().is_some_and(|revoked| revoked.ahead),
        })
    }

    /// Counts what comes when all has come.
    fn settle(&mut self, tally: &mut Tally) -> Result<()> {
        let mut ready = Vec::new();
        self.poll.wait(TICK, &mut ready)?;
        ready.retain(|token| *token < self.subscribers.len());
        ready.into_iter().try_for_each(|token| self.read(token, tally))
    }

    /// Begins to end the connections that are there for it.
    fn revoke(&mut self) -> Option<Victims> {
        let victims = mem::take(&mut self.victims);
        let url = self.args.revoke_url.clone().filter(|_| !victims.is_empty())?;
        Some(Victims::revoke(victims, self.args.conns, url, self.args.revoked.clone()))
    }

    fn source<'a>(&self, url: &'a Url) -> Result<Source<'a>> {
        let args = &self.args;
        let first = self.subscribers.len();
        let publishers =
            (0..args.publishers).map(|at| Publisher::connect(&self.poll, url.address, first + at));
        let publishers = publishers.collect::<Result<_>>()?;
        let mut readers = vec![0; args.channels];
        self.subscribers
            .iter()
            .filter(|s| s.role == Role::Reader)
            .for_each(|s| readers[s.channel] += 1);
        Ok(Source { url, publishers, readers, next_publish: 0 })
    }

    /// Publishes so many messages, and returns when all have been received and answered; true when
    /// it gave up.
    fn flow(
        &mut self,
        source: &mut Source<'_>,
        tally: &mut Tally,
        mode: Mode,
        messages: u64,
    ) -> Result<bool> {
        let start = now();
        let mut progress = start;
        let mut ready = Vec::new();
        loop {
            let over = (now() - start) as f64 / 1e9 > self.args.max_secs;
            let quiet = tally.delivered >= tally.expected
                && source.publishers.iter().all(Publisher::is_free);
            if quiet && (tally.published == messages || over) {
                return Ok(false);
            }
            if !over {
                self.publish(source, tally, mode, messages)?;
            }
            let patience = match self.args.pause_us {
                0 => source.patience(mode, tally.published < messages),
                pause => {
                    sleep(Duration::from_micros(pause));
                    Duration::ZERO
                }
            };
            self.poll.wait(patience, &mut ready)?;
            if !ready.is_empty() {
                progress = now();
            } else if (now() - progress) as f64 / 1e9 > self.args.stall_secs {
                return Ok(true);
            }
            for token in ready.drain(..) {
                if token < self.subscribers.len() {
                    self.read(token, tally)?;
                } else if let Some(publisher) =
                    source.publishers.get_mut(token - self.subscribers.len())
                {
                    publisher
                        .poll_answer(&self.poll)?
                        .into_iter()
                        .for_each(|took| tally.answers.add(took));
                }
            }
        }
    }

    /// Publishes what may be published now.
    fn publish(
        &self,
        source: &mut Source<'_>,
        tally: &mut Tally,
        mode: Mode,
        messages: u64,
    ) -> Result<()> {
        while tally.published < messages {
            let now = now();
            match mode {
                Mode::Closed if tally.delivered < tally.expected => return Ok(()),
                Mode::Rate(_) if now < source.next_publish => return Ok(()),
                _ => {}
            }
            let closed = mode == Mode::Closed;
            if closed && !source.publishers.iter().all(Publisher::is_free) {
                return Ok(());
            }
            let Some(publisher) =
                source.publishers.iter_mut().find(|publisher| publisher.is_free())
            else {
                return Ok(());
            };
            let stamp = match mode {
                Mode::Rate(rate) => {
                    // When it was due: a publish that waits for the answer to the one before is
                    // late, and counts as late.
                    let due = source.next_publish;
                    source.next_publish += (1e9 / rate) as u64;
                    due
                }
                _ => now,
            };
            let channel = tally.published as usize % self.args.channels;
            publisher.ask(
                &source.url.post(channel, &payload(self.args.payload, tally.published, stamp)),
            )?;
            tally.published += 1;
            tally.expected += source.readers[channel];
            tally.sent_to[channel].add(stamp);
        }
        Ok(())
    }

    /// Reads once from a connection, and counts.
    fn read(&mut self, number: usize, tally: &mut Tally) -> Result<()> {
        let subscriber = &mut self.subscribers[number];
        let read = match subscriber.stream.read(&mut self.buffer) {
            Ok(read) => read,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return Ok(());
            }
            Err(_reset) => 0,
        };
        let now = now();
        let bytes = &self.buffer[..read];
        tally.reads += 1;
        if read == 0 {
            tally.closed += 1;
            self.poll.forget(&subscriber.stream)?;
            return Ok(());
        }
        let before = subscriber.received.count;
        subscriber.scanner.scan(bytes, |stamp| {
            tally.latency.add(now.saturating_sub(stamp));
            subscriber.received.add(stamp);
        });
        tally.delivered += subscriber.received.count - before;
        tally.last_delivery = now;
        Ok(())
    }
}

impl Source<'_> {
    /// How long to wait for readiness.
    fn patience(&self, mode: Mode, more: bool) -> Duration {
        let until = |time: u64| Duration::from_nanos(time.saturating_sub(now()));
        let mut patience = TICK;
        if let Mode::Rate(_) = mode
            && more
        {
            patience = patience.min(until(self.next_publish));
        }
        patience
    }
}
