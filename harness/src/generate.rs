//! Random scripts.
//!
//! Each script draws its own few features (so that rare combinations come up undiluted), a small
//! alphabet of names from a pool of names that careless code confuses, and ends with an epilogue (a
//! count, one fresh broadcast per channel, a revocation per identity) that turns hidden divergence
//! into deliveries and numbers.

use fastrand::Rng;

use crate::features::{FEATURES, Feature, Features};
use crate::neighbours::{family, kinds};
use crate::script::{
    Act, Ending, Hook, Identity, Op, Outbox, Overflow, Reason, Registration, Rule, Script,
    SinkScript,
};

/// True `of` times in `all`.
fn chance(rng: &mut Rng, of: u32, all: u32) -> bool {
    rng.u32(..all) < of
}

/// One of a list that is not empty.
fn pick<'a, T>(rng: &mut Rng, list: &'a [T]) -> &'a T {
    &list[rng.usize(..list.len())]
}

fn texts<T: From<&'static str>>(names: &[&'static str]) -> Vec<T> {
    names.iter().map(|name| T::from(name)).collect()
}

/// Generates the script of a seed. It has no features but the given ones, and has all that
/// `wanted` names. A seed makes the same script as long as the suite stays the same.
#[must_use]
pub fn generate(seed: u64, features: Features, wanted: Features) -> Script {
    let mut rng = Rng::with_seed(seed);
    let mut chosen = Features::default();
    for feature in FEATURES {
        let odds = match feature {
            Feature::Revoke | Feature::Count => 6,
            Feature::Unsub | Feature::InSend | Feature::InClose => 4,
            Feature::Gated | Feature::Free | Feature::Shutdown | Feature::TwoRegistries => 1,
            _ => 2,
        };
        // No number is drawn where there are none, so that other registries keep their scripts.
        let asked =
            !matches!(feature, Feature::Outboxes | Feature::RevokeAs) || features.has(feature);
        let lucky = asked && chance(&mut rng, odds, 10);
        if features.has(feature) && (lucky || wanted.has(feature)) {
            chosen = chosen.with(feature);
        }
    }
    if chosen.any(&[Feature::SharedSinks, Feature::Gated]) {
        // A call of a shared sink does not show whose it is, so it must not matter: neither what
        // the sink does nor how the call ends depends on it.
        let others =
            [Feature::InSend, Feature::InClose, Feature::FailingSend, Feature::FailingClose];
        chosen = others.into_iter().fold(chosen, Features::without);
    }
    if chosen.has(Feature::Gated) {
        // The thread must be sure to park: nothing else may end that sink or reach it first.
        chosen = chosen.without(Feature::Free).without(Feature::Shutdown);
    }
    let script = Generator::new(rng, chosen).script().numbered();
    debug_assert_eq!(script.check(), Ok(()));
    script
}

struct Generator {
    rng: Rng,
    features: Features,
    channels: Vec<String>,
    identities: Vec<Identity>,
    scopes: Vec<Identity>,
    subs: u32,
    sinks: u32,
    tickets: u32,
    payloads: u32,
    /// The labels of subscribers with an outbox.
    outboxes: Vec<u32>,
    /// Subscribers on sinks: label, sink, and an identity that it holds.
    made: Vec<(u32, u32, Option<Identity>)>,
}

impl Generator {
    fn new(mut rng: Rng, features: Features) -> Self {
        let hostile = features.has(Feature::Hostile);
        let channels: Vec<String> = if hostile && chance(&mut rng, 3, 4) {
            family(&mut rng)
        } else {
            texts(&["a", "b", "c"][..1 + rng.u32(..3) as usize])
        };
        let identities: Vec<Identity> = if features.has(Feature::Kinds) && chance(&mut rng, 3, 4) {
            kinds(&mut rng)
        } else if hostile && chance(&mut rng, 1, 2) {
            family(&mut rng).iter().map(|name| name.as_str().into()).collect()
        } else if chance(&mut rng, 1, 5) {
            channels.iter().map(|name| Identity::from(name.as_str())).collect()
        } else {
            texts(&["x", "y"][..1 + rng.u32(..2) as usize])
        };
        let mut scopes = vec![Identity::from("s"), Identity::from("t")];
        if chance(&mut rng, 1, 3) {
            // Scopes that may be confused with groups, and with each other.
            let similar = identities.iter().take(2).cloned();
            scopes.splice(2 - similar.len().., similar).for_each(drop);
        }
        Self {
            rng,
            features,
            channels,
            identities,
            scopes,
            subs: 0,
            sinks: 0,
            tickets: 0,
            payloads: 0,
            outboxes: Vec::new(),
            made: Vec::new(),
        }
    }

    fn has(&self, feature: Feature) -> bool {
        self.features.has(feature)
    }

    fn chance(&mut self, of: u32, all: u32) -> bool {
        chance(&mut self.rng, of, all)
    }

    fn script(mut self) -> Script {
        let mut script = Script::default();
        // Without a cap, a scope is one identity more.
        if self.has(Feature::Scope) && self.chance(4, 5) {
            script.cap = Some(1 + self.rng.u32(..3));
        }
        let most = if self.chance(1, 8) { 24 } else { 9 };
        let length = 2 + self.rng.u32(..most);
        for _ in 0..length {
            let op = self.op(true);
            script.steps.push(op);
        }
        let early = script.steps.len();
        if self.has(Feature::Free) {
            self.free_threads(&mut script);
        } else if self.has(Feature::Gated) {
            self.gated_threads(&mut script);
        }
        for sink in 0..self.sinks {
            let rules = self.rules(sink);
            if !rules.is_empty() {
                script
                    .sinks
                    .resize_with((sink as usize + 1).max(script.sinks.len()), SinkScript::default);
                script.sinks[sink as usize].rules.extend(rules);
            }
        }
        if self.has(Feature::Shutdown) {
            for _ in 0..=self.rng.u32(..2) {
                let at = self.rng.u32(..early as u32 + 1) as usize;
                script.steps.insert(at, Op::new(0, Act::Shutdown));
            }
        }
        self.epilogue(&mut script);
        script
    }

    fn epilogue(&mut self, script: &mut Script) {
        let mut push = |act| script.steps.push(Op::new(0, act));
        push(Act::Settle);
        if self.has(Feature::Count) {
            push(Act::Count);
        }
        for channel in self.channels.clone() {
            push(self.cast(channel));
        }
        push(self.cast("unheard of".into()));
        push(Act::Settle);
        // What waits is taken, or discarded by what follows.
        if !self.outboxes.is_empty() && self.chance(1, 2) {
            self.outboxes.iter().for_each(|sub| push(Act::Take { sub: *sub, bytes: None }));
        }
        if self.has(Feature::Revoke) {
            for identity in self.identities.clone() {
                push(self.revoke(identity));
            }
            push(self.cast(self.channels[0].clone()));
            push(Act::Settle);
            if self.has(Feature::Count) {
                push(Act::Count);
            }
        }
        // What is left, and then the end.
        for sub in self.outboxes.clone() {
            push(Act::Take { sub, bytes: None });
            push(Act::Take { sub, bytes: None });
        }
    }

    /// One operation; from inside a sink or thread, not one that opens threads.
    fn op(&mut self, plain: bool) -> Op {
        let registry = u32::from(self.has(Feature::TwoRegistries) && self.chance(1, 3));
        if !self.outboxes.is_empty() && self.chance(1, 5) {
            let bytes = self.chance(1, 2).then(|| 1 + self.rng.u32(..8));
            let act = Act::Take { sub: *pick(&mut self.rng, &self.outboxes), bytes };
            return Op { id: 0, registry, act };
        }
        let act = match self.rng.u32(..20) {
            0..=5 => self.sub(plain),
            6..=8 if self.has(Feature::Unsub) => Act::Unsub { sub: self.rng.u32(..self.subs + 1) },
            9..=11 if self.has(Feature::Revoke) => {
                let identity = pick(&mut self.rng, &self.identities).clone();
                self.revoke(identity)
            }
            12 if self.has(Feature::Count) => Act::Count,
            13..=15 if self.has(Feature::Admission) => self.admission(plain),
            16 if self.has(Feature::Revoke) && self.has(Feature::Scope) => {
                let identity = pick(&mut self.rng, &self.scopes).clone();
                self.revoke(identity)
            }
            _ if self.subs == 0 => self.sub(plain),
            _ => {
                let channel = pick(&mut self.rng, &self.channels).clone();
                let threads = self.features.any(&[Feature::Free, Feature::Gated]);
                let may_repeat = self.has(Feature::EqualData) && (plain || !threads);
                if may_repeat && self.chance(2, 3) {
                    Act::Cast { channel, data: "same".into() }
                } else {
                    self.cast(channel)
                }
            }
        };
        Op { id: 0, registry, act }
    }

    fn revoke(&mut self, identity: Identity) -> Act {
        let named = self.has(Feature::RevokeAs) && self.chance(2, 3);
        let reason = if named { Some(*pick(&mut self.rng, &Reason::ALL)) } else { None };
        Act::Revoke { identity, reason }
    }

    fn cast(&mut self, channel: String) -> Act {
        self.payloads += 1;
        let mut data = format!("m{}", self.payloads);
        if self.has(Feature::Outboxes) && self.chance(1, 6) {
            // Larger than many a bound, or larger than it looks.
            data.push_str(if self.chance(1, 2) { ".........." } else { "\u{e9}" });
        }
        Act::Cast { channel, data }
    }

    fn sub(&mut self, plain: bool) -> Act {
        let sink = self.sink();
        let sub = self.subs;
        self.subs += 1;
        let mut with = self.registration();
        if !plain {
            with.overwrite = None;
        }
        if self.has(Feature::Outboxes) && self.chance(1, 2) {
            with.outbox = Some(self.outbox());
            self.outboxes.push(sub);
        } else {
            self.made.push((sub, sink, with.identities().last().cloned()));
        }
        Act::Sub { sub, sink, with }
    }

    /// Small bounds, so that a few messages reach them.
    fn outbox(&mut self) -> Outbox {
        let overflow = *pick(&mut self.rng, &Overflow::ALL);
        match self.rng.u32(..4) {
            0 | 1 => Outbox::of(1 + self.rng.u32(..4), overflow),
            2 => Outbox::of_bytes(2 + self.rng.u32(..9), overflow),
            _ => Outbox {
                bytes: 4 + self.rng.u32(..9),
                ..Outbox::of(2 + self.rng.u32(..3), overflow)
            },
        }
    }

    fn sink(&mut self) -> u32 {
        if self.has(Feature::SharedSinks) && self.sinks > 0 && self.chance(1, 2) {
            return self.rng.u32(..self.sinks);
        }
        self.sinks += 1;
        self.sinks - 1
    }

    fn admission(&mut self, plain: bool) -> Act {
        if self.tickets == 0 || self.chance(1, 3) {
            self.tickets += 1;
            return Act::Begin { ticket: self.tickets - 1 };
        }
        let ticket = self.rng.u32(..self.tickets);
        if self.chance(1, 6) {
            return Act::Abandon { ticket };
        }
        match self.sub(plain) {
            Act::Sub { sub, sink, with } => Act::Admit { ticket, sub, sink, with },
            other => other,
        }
    }

    fn registration(&mut self) -> Registration {
        let mut with = Registration::default();
        let several = self.has(Feature::Lists);
        let names = if several { self.rng.u32(..5) } else { 1 };
        with.exact = self.has(Feature::Exact) && self.chance(1, 2);
        if names < 4 {
            let mut list: Vec<String> =
                (0..names).map(|_| pick(&mut self.rng, &self.channels).clone()).collect();
            if self.has(Feature::Duplicates) && self.chance(1, 2) {
                list.extend(list.first().cloned());
            } else {
                list.dedup();
                if list.first() == list.last() && list.len() > 1 {
                    list.pop();
                }
            }
            with.channels = Some(list);
            if self.has(Feature::Overwrite) && self.chance(1, 2) {
                with.overwrite = Some(pick(&mut self.rng, &self.channels).clone());
            }
        }
        if self.has(Feature::Revoke) && self.chance(3, 4) {
            with.groups.push(pick(&mut self.rng, &self.identities).clone());
        }
        if self.has(Feature::Scope) && self.chance(3, 4) {
            with.scope = Some(pick(&mut self.rng, &self.scopes).clone());
            if !self.has(Feature::Groups) {
                with.groups.clear();
            }
        }
        if self.has(Feature::Groups) && self.chance(1, 2) {
            with.groups.push(pick(&mut self.rng, &self.identities).clone());
            if let Some(scope) = &with.scope
                && self.chance(1, 3)
            {
                with.groups.push(scope.clone());
            }
        }
        with
    }

    /// An operation that ends a subscriber of this sink: sinks most often act on themselves.
    fn own_end(&mut self, sink: u32) -> Option<Op> {
        let own: Vec<_> = self.made.iter().filter(|(_, on, _)| *on == sink).cloned().collect();
        let (sub, _, held) = own.get(self.rng.usize(..own.len().max(1)))?;
        let act = if self.has(Feature::Unsub) && self.chance(1, 2) {
            Act::Unsub { sub: *sub }
        } else {
            let identity = held.clone().filter(|_| self.has(Feature::Revoke))?;
            self.revoke(identity)
        };
        Some(Op::new(0, act))
    }

    fn rules(&mut self, sink: u32) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (on, inside, failing) in [
            (Hook::Send, Feature::InSend, Feature::FailingSend),
            (Hook::Close, Feature::InClose, Feature::FailingClose),
        ] {
            let nth = 1 + self.rng.u32(..2) * u32::from(on == Hook::Send);
            let mut rule = Rule { on, nth, ops: Vec::new(), then: Ending::Ok };
            if self.has(inside) && self.chance(1, 3) {
                for _ in 0..=self.rng.u32(..2) {
                    let own = if self.chance(1, 3) { self.own_end(sink) } else { None };
                    let op = own.unwrap_or_else(|| self.op(false));
                    rule.ops.push(op);
                }
            }
            if self.has(failing) && self.chance(1, 3) {
                rule.then = if self.chance(2, 3) { Ending::Throw } else { Ending::Fail };
            }
            if !rule.ops.is_empty() || rule.then != Ending::Ok {
                rules.push(rule);
            }
        }
        rules
    }

    /// Two or three threads that race.
    fn free_threads(&mut self, script: &mut Script) {
        let threads = (0..2 + self.rng.u32(..2))
            .map(|_| (0..1 + self.rng.u32(..4)).map(|_| self.op(false)).collect())
            .collect();
        script.steps.push(Op::new(0, Act::Par { threads }));
    }

    /// One thread broadcasts and parks in a sink; another gets past it and lets it go on.
    fn gated_threads(&mut self, script: &mut Script) {
        let op = |act| Op::new(0, act);
        let channel = self.channels[0].clone();
        // One past what an earlier `unsub` may name.
        let sub = self.subs + 1;
        let sink = self.sinks;
        self.subs += 2;
        self.sinks += 1;
        let with =
            Registration { channels: Some(vec![channel.clone()]), ..Registration::default() };
        let place = self.rng.u32(..script.steps.len() as u32 + 1) as usize;
        script.steps.insert(place, op(Act::Sub { sub, sink, with }));
        let park = Rule {
            on: Hook::Send,
            nth: 1,
            ops: vec![op(Act::Release { gate: 0 }), op(Act::Hold { gate: 1 })],
            then: Ending::Ok,
        };
        let cast = self.cast(channel);
        let mut other = vec![op(Act::Hold { gate: 0 })];
        for _ in 0..=self.rng.u32(..2) {
            let identity = pick(&mut self.rng, &self.identities).clone();
            other.push(op(self.revoke(identity)));
        }
        other.push(op(Act::Release { gate: 1 }));
        // The sink parks at its first send: nothing may be broadcast to it before the threads run.
        script.steps.retain(|step| !matches!(step.act, Act::Cast { .. }));
        script.sinks.resize_with(sink as usize + 1, SinkScript::default);
        script.sinks[sink as usize].rules.push(park);
        script.steps.push(op(Act::Par { threads: vec![vec![op(cast.clone())], other] }));
    }
}
