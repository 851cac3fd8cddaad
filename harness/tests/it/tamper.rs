//! Traces of a right registry, made wrong by hand.

use harness::trace::{Event, Received, Trace};

/// A change of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tampering {
    /// A send is left out.
    DropSend,
    /// A send is there twice.
    RepeatSend,
    /// A send goes to another sink.
    MoveSend,
    /// A send carries another payload.
    ChangePayload,
    /// Two sends on one sink are swapped.
    SwapSends,
    /// A close is left out.
    DropClose,
    /// A close is there twice.
    RepeatClose,
    /// A close goes to another sink.
    MoveClose,
    /// A close carries another reason.
    ChangeReason,
    /// A returned number is one more.
    OneMore,
    /// A returned number is one less.
    OneLess,
    /// The first message that was taken is left out.
    DropReceived,
    /// A message that was taken is there twice.
    RepeatReceived,
    /// Two messages of one take are swapped.
    SwapReceived,
    /// A take reports one lost message more.
    OneMoreLost,
    /// A take hides the end.
    HideEnd,
    /// A take reports another reason.
    ChangeEnd,
}

impl Tampering {
    /// All of them.
    pub(crate) const ALL: [Tampering; 17] = [
        Tampering::DropSend,
        Tampering::RepeatSend,
        Tampering::MoveSend,
        Tampering::ChangePayload,
        Tampering::SwapSends,
        Tampering::DropClose,
        Tampering::RepeatClose,
        Tampering::MoveClose,
        Tampering::ChangeReason,
        Tampering::OneMore,
        Tampering::OneLess,
        Tampering::DropReceived,
        Tampering::RepeatReceived,
        Tampering::SwapReceived,
        Tampering::OneMoreLost,
        Tampering::HideEnd,
        Tampering::ChangeEnd,
    ];
}

/// Tampers with the `nth` event that it applies to, if there is one. The trace must be one whose
/// sinks do not call back.
pub(crate) fn tamper(trace: &Trace, how: Tampering, nth: usize) -> Option<Trace> {
    let mut trace = trace.clone();
    let wanted = |event: &Event| match how {
        Tampering::DropSend
        | Tampering::RepeatSend
        | Tampering::MoveSend
        | Tampering::ChangePayload
        | Tampering::SwapSends => matches!(event, Event::Send { .. }),
        Tampering::DropClose | Tampering::RepeatClose | Tampering::MoveClose => {
            matches!(event, Event::Close { .. })
        }
        Tampering::ChangeReason => matches!(event, Event::Close { reason: Some(_), .. }),
        Tampering::DropReceived | Tampering::RepeatReceived | Tampering::OneMoreLost => {
            found(event).is_some_and(|taken| !taken.messages.is_empty())
        }
        Tampering::SwapReceived => found(event).is_some_and(|taken| taken.messages.len() > 1),
        // After an unsubscribe, the requirements leave open what a take reports.
        Tampering::HideEnd | Tampering::ChangeEnd => found(event)
            .and_then(|taken| taken.end.as_deref())
            .is_some_and(|reason| reason != "unsubscribed"),
        Tampering::OneMore => matches!(event, Event::Ret { n: Some(_), .. }),
        Tampering::OneLess => matches!(event, Event::Ret { n: Some(1..), .. }),
    };
    let at = trace.iter().enumerate().filter(|(_, event)| wanted(event)).nth(nth)?.0;
    match how {
        Tampering::DropSend | Tampering::DropClose => {
            trace.drain(at..at + 2);
        }
        Tampering::RepeatSend | Tampering::RepeatClose => {
            let pair = trace[at..at + 2].to_vec();
            trace.splice(at..at, pair);
        }
        Tampering::MoveSend | Tampering::MoveClose => {
            let own = sink(&trace[at])?;
            let other = trace.iter().filter_map(sink).find(|other| *other != own)?;
            for event in &mut trace[at..at + 2] {
                redirect(event, other);
            }
        }
        Tampering::ChangePayload => {
            if let Event::Send { data, .. } = &mut trace[at] {
                data.push('!');
            }
        }
        Tampering::ChangeReason => {
            if let Event::Close { reason: Some(reason), .. } = &mut trace[at] {
                let others = ["expired", "logged_out"];
                *reason = others.into_iter().find(|other| reason != other)?.to_owned();
            }
        }
        Tampering::SwapSends => {
            let own = sink(&trace[at])?;
            let Event::Send { data: first, .. } = &trace[at] else { return None };
            let other = |event: &Event| match event {
                Event::Send { sink, data, .. } => *sink == own && data != first,
                _ => false,
            };
            let later = (at + 1..trace.len()).find(|later| other(&trace[*later]))?;
            trace.swap(at, later);
        }
        Tampering::DropReceived
        | Tampering::RepeatReceived
        | Tampering::SwapReceived
        | Tampering::OneMoreLost
        | Tampering::HideEnd
        | Tampering::ChangeEnd => {
            let Event::Ret { taken: Some(taken), .. } = &mut trace[at] else { return None };
            match how {
                Tampering::DropReceived => drop(taken.messages.remove(0)),
                Tampering::RepeatReceived => taken.messages.push(taken.messages.first()?.clone()),
                Tampering::SwapReceived => taken.messages.swap(0, 1),
                Tampering::OneMoreLost => taken.lost += 1,
                Tampering::HideEnd => taken.end = None,
                _ => taken.end = Some("heartbeat".into()),
            }
        }
        Tampering::OneMore | Tampering::OneLess => {
            if let Event::Ret { n: Some(n), .. } = &mut trace[at] {
                *n = if how == Tampering::OneMore { *n + 1 } else { *n - 1 };
            }
        }
    }
    Some(trace)
}

fn found(event: &Event) -> Option<&Received> {
    if let Event::Ret { taken, .. } = event { taken.as_ref() } else { None }
}

fn sink(event: &Event) -> Option<u32> {
    match event {
        Event::Send { sink, .. }
        | Event::Sent { sink, .. }
        | Event::Close { sink, .. }
        | Event::Closed { sink, .. } => Some(*sink),
        _ => None,
    }
}

fn redirect(event: &mut Event, to: u32) {
    if let Event::Send { sink, .. }
    | Event::Sent { sink, .. }
    | Event::Close { sink, .. }
    | Event::Closed { sink, .. } = event
    {
        *sink = to;
    }
}
