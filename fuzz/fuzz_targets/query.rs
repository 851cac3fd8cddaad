//! Any query string, through the way in of both transports: it is refused, or hears exactly what a
//! plain model of the rules says and gets the others listed (FLT-2, FLT-5, ADM-8); and a check says
//! the same and takes nobody. The first three bytes choose the limits and the grant, the rest is
//! the query.

#![no_main]

use axum::http::request::Parts;
use axum::http::{HeaderMap, Request, Uri};
use libfuzzer_sys::{Corpus, fuzz_target};
use registry_core::ChannelFilter;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use tokio::runtime::{Builder, Runtime};
use transport_core::{Authorise, Entered, Grant, Live, LiveOptions, Refusal};
use transport_sse::Events;

/// What can be granted, and with what it may be confused.
const POOL: [&str; 7] = ["a", "b", "a,b", "", "ä", " ", "%"];

thread_local! {
    static RUNTIME: Runtime =
        Builder::new_current_thread().enable_time().build().expect("a runtime");
}

struct Granted(ChannelFilter);

#[async_trait::async_trait]
impl Authorise for Granted {
    async fn authorise(&self, _: &Parts) -> Result<Grant, Refusal> {
        Ok(Grant::new(self.0.clone()))
    }
}

/// The rules, byte by byte: what is asked for, `None` for everything.
fn model(query: &[u8], names: usize, name_bytes: usize) -> Result<Option<BTreeSet<String>>, ()> {
    let mut asked = None;
    for pair in query.split(|byte| *byte == b'&') {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        let key = decode(halves.next().unwrap_or_default())?;
        let value = halves.next().unwrap_or_default();
        let given: Vec<&[u8]> = match key.as_str() {
            "channels" => value.split(|byte| *byte == b',').collect(),
            "channel" => vec![value],
            _ => continue,
        };
        for item in given {
            if key == "channels" && item.is_empty() {
                return Err(());
            }
            let name = decode(item)?;
            if name.len() > name_bytes {
                return Err(());
            }
            asked.get_or_insert_with(BTreeSet::new).insert(name);
        }
    }
    if asked.as_ref().is_some_and(|asked| asked.len() > names) { Err(()) } else { Ok(asked) }
}

fn decode(text: &[u8]) -> Result<String, ()> {
    let mut out = Vec::new();
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit =
                    || bytes.next().and_then(|byte| char::from(byte).to_digit(16)).ok_or(());
                (digit()? * 16 + digit()?) as u8
            }
            other => other,
        });
    }
    String::from_utf8(out).map_err(drop)
}

fuzz_target!(|data: &[u8]| -> Corpus {
    let [names, name_bytes, grant, query @ ..] = data else { return Corpus::Reject };
    let Ok(uri) = Uri::try_from([b"/?", query].concat()) else { return Corpus::Reject };
    // The URI's parser drops a fragment.
    let query = uri.query().unwrap_or_default().as_bytes();
    let names = NonZeroUsize::MIN.saturating_add(usize::from(names % 8));
    let name_bytes = usize::from(name_bytes % 32);
    let granted: BTreeSet<&str> = POOL
        .into_iter()
        .enumerate()
        .filter(|(bit, _)| grant >> bit & 1 == 1)
        .map(|(_, name)| name)
        .collect();
    let everything = grant >> 7 == 1;
    let filter =
        if everything { ChannelFilter::All } else { ChannelFilter::only(granted.iter().copied()) };

    let options = LiveOptions::new().with_max_channels(names).with_max_channel_bytes(name_bytes);
    let live = Live::<u8>::builder().with_options(options).build();
    let authoriser = Granted(filter);
    let enter = |method: &str| -> Result<Entered<Events>, Refusal> {
        let request = Request::builder().method(method).uri(uri.clone()).body(());
        let mut request = request.expect("a request");
        live.draw_ticket_for(request.extensions_mut());
        let (parts, ()) = request.into_parts();
        let entry = live.entry(&parts)?;
        let grant = RUNTIME.with(|run| run.block_on(entry.authorise(&authoriser, &parts)))?;
        entry.admit(grant)
    };
    let checked = enter("HEAD");
    assert_eq!(live.len(), 0, "{uri}");
    let admitted = enter("GET");

    let asked = model(query, names.get(), name_bytes);
    let is_granted = |name: &str| everything || granted.contains(name);
    let status = match &asked {
        Err(()) => 400,
        Ok(Some(asked)) if !asked.iter().any(|name| is_granted(name)) => 403,
        Ok(_) => 200,
    };
    let answer = admitted.as_ref().map_or_else(|refusal| refusal.status().as_u16(), |_| 200);
    assert_eq!(answer, status, "{uri}");
    assert_eq!(checked.as_ref().err(), admitted.as_ref().err(), "{uri}");
    let counted = live.admission_stats().refusals;
    assert_eq!(
        counted.get(&status).copied().unwrap_or(0),
        if status == 200 { 0 } else { 2 },
        "{uri}"
    );
    assert_eq!(live.len(), usize::from(status == 200), "{uri}");

    if let (Ok(asked), Ok(admitted)) = (&asked, &admitted) {
        let head = checked.as_ref().expect("an answer to HEAD");
        assert_eq!(head.ungranted(), admitted.ungranted(), "{uri}");
        let beyond: BTreeSet<&str> =
            asked.iter().flatten().map(String::as_str).filter(|name| !is_granted(name)).collect();
        assert!(admitted.ungranted().names().eq(beyond.iter().copied()), "{uri}");
        let mut headers = HeaderMap::new();
        admitted.ungranted().insert_headers(&mut headers);
        let header = |name| headers.get(name).map(|value| value.to_str().expect("ASCII"));
        let count =
            header("x-channels-refused-count").map_or(0, |count| count.parse().expect("a number"));
        let listed: Vec<&[u8]> = header("x-channels-refused")
            .iter()
            .flat_map(|list| list.split(','))
            .map(str::as_bytes)
            .collect();
        // At most 8 names of 31 bytes each, so all are listed.
        let listed: Result<BTreeSet<String>, ()> = listed.into_iter().map(decode).collect();
        assert!(listed.expect("percent-encoded UTF-8").iter().eq(&beyond), "{uri}");
        assert_eq!(count, beyond.len(), "{uri}");
        let hears = |name: &str| {
            is_granted(name) && asked.as_ref().is_none_or(|asked| asked.contains(name))
        };
        let more = asked.iter().flatten().map(String::as_str);
        for name in POOL.into_iter().chain(more).chain(["elsewhere", "*"]) {
            let report = live.broadcast(name, 0).expect("a broadcast");
            assert_eq!(report.matched == 1, hears(name), "{uri} on {name:?}");
        }
    }
    drop(admitted);
    assert_eq!(live.len(), 0, "{uri}");
    Corpus::Keep
});
