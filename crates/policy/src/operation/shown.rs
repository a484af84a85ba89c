//! What a rule allows of requests and demands of them, as people read it.

use super::{
    AnswerFiles, Capture, Credential, LeakAction, Leaks, Operations, Quotas, Requests, Verb, WhenUnopened,
};
use crate::glob::Glob;
use crate::money::Money;
use std::fmt;

impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(", ");
        let globs = |globs: &[Glob]| list(&mut globs.iter().map(Glob::to_string));
        let some = |some: &Operations| {
            let verbs = list(&mut some.verbs.iter().map(Verb::to_string));
            match some.resources.as_slice() {
                [] => verbs,
                resources => format!("{verbs} of {}", globs(resources)),
            }
        };
        match self.operations.as_slice() {
            [] if self.granted => f.write_str("only what an answer granted")?,
            [] => f.write_str("anything that is understood")?,
            all => f.write_str(&all.iter().map(some).collect::<Vec<_>>().join("; "))?,
        }
        if !self.models.is_empty() {
            write!(f, "; models {}", globs(&self.models))?;
        }
        if !self.tools.is_empty() {
            write!(f, "; tools {}", globs(&self.tools))?;
        }
        if !self.credentials.is_empty() {
            write!(f, "; with {}", list(&mut self.credentials.iter().map(Credential::to_string)))?;
        }
        if let Some(inject) = &self.inject {
            write!(f, "; sent {inject}")?;
        }
        if self.only_referred {
            f.write_str("; only what an answer led to")?;
        }
        if let Some(seconds) = self.redirects {
            write!(f, "; what its answers lead to is granted for {seconds} seconds")?;
        }
        if !self.leaks.is_open() {
            write!(f, "; {}", self.leaks)?;
        }
        if !self.quotas.is_open() {
            write!(f, "; {}", self.quotas)?;
        }
        if let Some(capture) = self.capture {
            write!(f, "; {capture}")?;
        }
        if !self.answers.is_open() {
            write!(f, "; {}", self.answers)?;
        }
        if !self.provider_egress.is_closed() {
            write!(f, "; {}", self.provider_egress)?;
        }
        self.tool_conditions.iter().try_for_each(|condition| write!(f, "; {condition}"))?;
        match self.when_unopened {
            WhenUnopened::Deny => Ok(()),
            WhenUnopened::Pass => {
                f.write_str("; of clients that do not trust the inspection CA anything, unread")
            }
        }
    }
}

impl fmt::Display for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match (self.requests, self.answers) {
            (true, true) => "requests and answers",
            (true, false) => "requests",
            (false, true) => "answers",
            (false, false) => "nothing",
        };
        write!(f, "{what} kept, {} bytes of each", self.max_bytes)
    }
}

impl fmt::Display for Leaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secrets, personal, files, canaries, opaque } = self;
        let canaries = canaries.as_ref().map(|canaries| canaries.action);
        let opaque = opaque.map(|opaque| opaque.action);
        let all = [
            ("secrets", *secrets),
            ("personal data", *personal),
            ("files", *files),
            ("canaries", canaries),
            ("what cannot be read", opaque),
        ];
        f.write_str(&told(&all))
    }
}

impl fmt::Display for AnswerFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pickles, archives } = *self;
        f.write_str(&told(&[("unsafe pickles", pickles), ("unsafe archives", archives)]))
    }
}

fn told(all: &[(&str, Option<LeakAction>)]) -> String {
    let told = all.iter().filter_map(|(what, action)| match (*action)? {
        LeakAction::Report => Some(format!("{what} reported")),
        LeakAction::Block => Some(format!("{what} blocked")),
        LeakAction::Mask => Some(format!("{what} masked")),
    });
    told.collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Quotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, tokens, money } = self;
        let count = |most: Option<u64>| most.map(|most| most.to_string());
        let amount = |most: Option<u64>| most.map(|most| Money(most).to_string());
        let all = [
            ("requests an hour", count(requests.hour)),
            ("requests a day", count(requests.day)),
            ("tokens an hour", count(tokens.hour)),
            ("tokens a day", count(tokens.day)),
            ("of money an hour", amount(money.hour)),
            ("of money a day", amount(money.day)),
        ];
        let told = all.into_iter().filter_map(|(what, most)| Some(format!("{} {what}", most?)));
        f.write_str(&told.collect::<Vec<_>>().join(", "))
    }
}
