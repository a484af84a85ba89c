//! What a request takes of the budgets of its rule before it goes on.
//!
//! Enters: what the allowing rule demands, and a request that was judged. Leaves: what was set aside for it, or why it must
//! not go on. Guarantees: a call goes on only once the most that it is expected to take is set aside, so that calls at the
//! same time see each other's; one whose cost nobody knows, or nobody could count, does not go on where that is limited.
//! Does not: look at answers; that is `tally`'s.

use super::body::{Broken, Outgoing, Unclear};
use super::fields::Asks;
use super::request::HOLD_PATIENCE;
use super::tally::{Meter, now};
use crate::call::CallGuard;
use crate::quota::{Account, Amount, Short};
use crate::reason::{End, Reason};
use crate::requests::Demands;
use ::inspect::answer::{Ask, estimate_question, is_batch};
use http::header::{self, HeaderValue};
use http::request;
use lease::StoreIs;
use policy::Verb;
use purse::{Price, Tokens};
use std::sync::Arc;

/// How often a request asks for more where others took what was granted before it could.
const MOST_DRAWS: usize = 2;
/// Kinds of bodies that are no text.
const BINARY: [&str; 4] = ["multipart/", "audio/", "image/", "video/"];

/// What a request goes on with.
#[derive(Debug, Default)]
pub(crate) struct Drawn {
    /// What counts its answer; `None`: nothing of it is limited.
    pub(crate) meter: Option<Meter>,
    /// What its tokens cost, where that is known.
    pub(crate) price: Option<Arc<Price>>,
}

impl Drawn {
    /// The request goes on: its server may count it also where its client does not wait for the answer.
    pub(crate) fn sent(&mut self) {
        self.meter.iter_mut().for_each(|meter| meter.reservation.sent());
    }

    /// Its server broke off without an answer, or it was made to.
    pub(crate) fn unanswered(&mut self) {
        self.meter.iter_mut().for_each(|meter| meter.reservation.unanswered());
    }
}

/// Draws a request from its account, and has the answer come in a form that can be cut. The error within says why it does not
/// go on; the one without, that its client went.
pub(crate) async fn draw(
    demands: Demands,
    asks: Asks,
    head: &mut request::Parts,
    outgoing: &mut Outgoing,
    guard: &mut CallGuard,
) -> Result<Result<Drawn, Reason>, Broken> {
    let operation = &guard.so_far().operation;
    // What a batch asks is answered, and paid for, later.
    let is_batch = is_batch(operation);
    let is_call = operation.verb == Verb::Call || is_batch;
    let price = demands.prices.as_ref().filter(|_| is_call).and_then(|prices| prices.of(operation));
    let Some(account) = demands.account else { return Ok(Ok(Drawn { meter: None, price })) };
    if is_call && account.counts_money() && price.is_none() {
        return Ok(Err(Reason::NoPrice));
    }
    if !(is_call && account.counts_tokens()) {
        let drawn = reserve(account, Tokens::default(), None, guard).await;
        return Ok(drawn.map(|meter| Drawn { meter: Some(meter), price }));
    }
    // What is said in a conversation over a WebSocket is not read.
    if asks == Asks::WebSocket {
        return Ok(Err(Reason::QuotaUnread));
    }
    head.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let (ask, input) = match asked(outgoing, head, guard).await {
        Ok(asked) => asked,
        Err(Unclear::TooLarge | Unclear::Full) if is_batch => (Ask::UNKNOWABLE, 0),
        Err(Unclear::TooLarge | Unclear::Full) => (Ask::SILENT, estimate_question(outgoing.length())),
        Err(Unclear::TooSlow) => return Ok(Err(Reason::Timeout)),
        Err(Unclear::Gone | Unclear::Contradicted(_)) => {
            guard.ended(End::PodGone);
            return Err(Broken);
        }
    };
    if ask.output() == u64::MAX {
        return Ok(Err(Reason::QuotaUnread));
    }
    let tokens = Tokens { input, output: ask.output(), ..Tokens::default() };
    let drawn = reserve(account, tokens, price.clone(), guard).await;
    Ok(drawn.map(|meter| Drawn { meter: Some(meter), price }))
}

/// How long the answer may become, and about how many tokens the question has.
async fn asked(
    outgoing: &mut Outgoing,
    head: &request::Parts,
    guard: &CallGuard,
) -> Result<(Ask, u64), Unclear> {
    let operation = &guard.so_far().operation;
    let kind = head.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let starts_with = |prefix: &&str| {
        kind.trim_ascii_start()
            .get(..prefix.len())
            .is_some_and(|it| it.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    // Sound and pictures have no tokens that their length would tell, and no place where a limit is. What says that it is one
    // need not be.
    let may_be_binary = BINARY.iter().any(starts_with);
    let asking = outgoing.ask(operation, &head.headers, may_be_binary);
    let asked = tokio::time::timeout(HOLD_PATIENCE, asking).await;
    let (ask, bytes) = asked.unwrap_or(Err(Unclear::TooSlow))?;
    Ok((ask, estimate_question(bytes)))
}

async fn reserve(
    account: Account,
    tokens: Tokens,
    price: Option<Arc<Price>>,
    guard: &mut CallGuard,
) -> Result<Meter, Reason> {
    let money = price.as_ref().map_or(0, |price| price.cost(tokens));
    let amount = Amount { tokens: tokens.sum(), money };
    let (mut reserved, mut was_asked) = (account.reserve(amount, now()), true);
    for _ in 0..MOST_DRAWS {
        let (Err(Short::Unleased(_)), Some(shared)) = (&reserved, &account.shared) else { break };
        let turn = shared.purse.draw(vec![account.key], amount).await;
        was_asked = turn.is_some();
        reserved = account.reserve(amount, now());
        if !was_asked {
            break;
        }
    }
    let is_down = account.shared.as_ref().is_some_and(|shared| shared.purse.store_is() != StoreIs::Up);
    if is_down {
        guard.without_store();
    }
    match reserved {
        Ok(reservation) => {
            let course = Arc::clone(&guard.course);
            Ok(Meter { reservation, asked: tokens.input, course, price })
        }
        // There may be enough, and nobody knows.
        Err(Short::Unleased(_)) if is_down || !was_asked => Err(Reason::QuotaStore),
        Err(Short::Spent(spent) | Short::Unleased(spent)) => {
            guard.spent(spent);
            Err(spent.reason)
        }
    }
}
