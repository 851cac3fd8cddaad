//! The table of calls, from which the router is made and by which the guard judges.

use crate::app::App;
use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, get, on};
use std::collections::HashSet;

/// Which clients may make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Every client that reaches the server.
    Anyone,
    /// An administrator, as the guard understands it.
    Administrator,
}

/// One call that the server knows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// `GET` stands for `HEAD` too.
    pub method: Method,
    /// Where, with parameters as `{name}`.
    pub path: &'static str,
    /// Which clients may make it.
    pub access: Access,
}

/// The calls, and a router of exactly these calls. Only a `GET` can be declared for anyone; every
/// other call is for administrators.
#[derive(Default)]
pub(crate) struct Routes {
    pub(crate) calls: Vec<Call>,
    pub(crate) router: Router<App>,
}

impl Routes {
    /// Adds a `GET` for anyone.
    pub(crate) fn read<H: Handler<T, App>, T: 'static>(
        self,
        path: &'static str,
        handler: H,
    ) -> Self {
        self.add(Call { method: Method::GET, path, access: Access::Anyone }, get(handler))
    }

    /// Adds a call for administrators.
    pub(crate) fn administer<H: Handler<T, App>, T: 'static>(
        self,
        method: Method,
        path: &'static str,
        handler: H,
    ) -> Self {
        let filter = MethodFilter::try_from(method.clone()).expect("a method of the standard");
        self.add(Call { method, path, access: Access::Administrator }, on(filter, handler))
    }

    fn add(mut self, call: Call, routed: MethodRouter<App>) -> Self {
        self.router = self.router.route(call.path, routed);
        self.calls.push(call);
        self
    }

    /// Returns the paths that anyone may read.
    pub(crate) fn readable(&self) -> HashSet<&'static str> {
        self.calls
            .iter()
            .filter(|call| call.access == Access::Anyone)
            .map(|call| call.path)
            .collect()
    }
}
