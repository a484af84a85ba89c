//! What a request takes of the limits of its policy, before it goes on and while its answer comes.
//!
//! Enters: limits, prices, and a request that was judged; then what its answer says of itself. Leaves: [`Drawn`], or why it must
//! not go on. Guarantees: a call goes on only once the most that it is expected to take is set aside in every limit that holds;
//! one whose cost nobody knows, or nobody could count, does not where that is limited; what came is counted as it comes, so
//! that who breaks off pays for what there was. Does not: know prices, or write what was used; others do.

use crate::body::{Outgoing, Unread};
use crate::fields::Asks;
use crate::judge::{Judging, apart};
use crate::probe::{self, ProbeFact};
use crate::reason::Reason;
use crate::record::{Course, Guard};
use crate::request::Stop;
use crate::server::seconds;
use admit::{Amount, Need, Short, Spent, Taken};
use http::{Method, StatusCode, request};
use inspect::answer::{Ask, AskReader, Usage, estimate, estimate_question, is_batch};
use lease::StoreIs;
use policy::{Consumer, Operation, Verb};
use purse::{Cost, Price, Tokens};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Largest body of a call that is held to see how long its answer may become where no tokens are limited.
const MAX_ASK: u64 = 1 << 20;
/// How often a request asks for more where others took what was granted before it could.
const MOST_DRAWS: usize = 2;

/// What a request took.
#[derive(Debug)]
pub(crate) struct Drawn {
    taken: Taken,
    /// What its tokens cost, where that is known.
    price: Option<Arc<Price>>,
    /// Tokens of the question, as estimated.
    asked: u64,
    /// Its answer has no tokens of its own.
    is_silent: bool,
    /// Tokens, or what they cost, are limited.
    is_metered: bool,
    /// Its answer is one.
    is_success: bool,
    /// On its way to a server, which works for it once it has something of it. `None`: on none.
    course: Option<Arc<Course>>,
}

impl Judging<'_> {
    /// Takes what the request may need of every limit.
    pub(crate) async fn draw(
        &self,
        consumer: &Consumer,
        (head, asks): (&request::Parts, Asks),
        body: &mut Outgoing,
        guard: &mut Guard,
    ) -> Result<Drawn, Stop> {
        let effective = &self.held.effective;
        let operation = guard.record.operation.clone();
        let (model, is_call) = (operation.model.as_deref(), operation.verb == Verb::Call);
        let metered = effective.token_limit(consumer, model);
        // What is said over a WebSocket is not read, and what a batch asks is answered later.
        let is_later = is_batch(&operation);
        if let (Some(source), true) = (metered, asks == Asks::WebSocket || is_later) {
            return Err(Stop { rule: Some(source.to_string()), ..Reason::LimitUnread.into() });
        }
        let price = self.shared.prices.as_ref().filter(|_| is_call).and_then(|prices| prices.of(&operation));
        // What nobody can tell may be a call.
        let may_cost = is_call || operation.verb == Verb::Unknown && head.method == Method::POST;
        if let (None, true, Some(source)) = (&price, may_cost, effective.money_limit(consumer, model)) {
            let provider = operation.provider.as_deref().unwrap_or("nobody known");
            let model = model.unwrap_or("that is not named");
            let why = format!(
                "its limit is of money, and the price list has no entry for {provider}, model {model}"
            );
            return Err(Stop { rule: Some(source.to_string()), ..Stop::because(Reason::NoPrice, why) });
        }
        let is_metered = metered.is_some();
        let (ask, probe) = match is_call {
            true => self.ask(head, body, (&operation, is_metered)).await?,
            false => (NOTHING, None),
        };
        guard.record.probe = probe;
        if let (Some(source), u64::MAX) = (metered, ask.output()) {
            return Err(Stop { rule: Some(source.to_string()), ..Reason::LimitUnread.into() });
        }
        let asked = if is_call { estimate_question(body.length()) } else { 0 };
        let tokens = Tokens { input: asked, output: ask.output(), ..Tokens::default() };
        let amount = amount(tokens, price.as_deref());
        let taken = self.taken(consumer, model, amount, guard).await?;
        let is_silent = ask.output() == 0;
        Ok(Drawn { taken, price, asked, is_silent, is_metered, is_success: true, course: None })
    }

    /// Takes this much, and asks the store for it where this gateway was not granted as much.
    async fn taken(
        &self,
        consumer: &Consumer,
        model: Option<&str>,
        amount: Amount,
        guard: &mut Guard,
    ) -> Result<Taken, Stop> {
        let (effective, ledger) = (&self.held.effective, &self.shared.ledger);
        let purse = self.shared.purse.as_ref();
        let take = || {
            let store = purse.map(|purse| purse.store_is());
            ledger.take(effective, &Need { consumer, model, amount, now: seconds(), store })
        };
        let (mut taken, mut was_asked) = (take(), true);
        for _ in 0..MOST_DRAWS {
            let (Err(Short::Unleased(accounts, _)), Some(purse)) = (&taken, purse) else { break };
            let turn = purse.draw(accounts.clone(), amount).await;
            was_asked = turn.is_some();
            taken = take();
            if !was_asked {
                break;
            }
        }
        let is_down = purse.is_some_and(|purse| purse.store_is() != StoreIs::Up);
        let short = match taken {
            Ok(taken) => {
                guard.record.without_store = is_down && taken.is_limited();
                return Ok(taken);
            }
            Err(short) => short,
        };
        // There may be enough, and nobody knows.
        let is_unknown = (is_down || !was_asked) && matches!(short, Short::Unleased(..));
        let Spent { source, message, retry_after, headers, .. } = short.spent();
        guard.record.without_store = is_unknown && is_down;
        let rule = Some(source.to_string());
        if is_unknown {
            return Err(Stop { rule, retry_after: Some(1), ..Reason::LimitStore.into() });
        }
        Err(Stop { rule, retry_after, headers, ..Stop::because(Reason::LimitSpent, message) })
    }
}

/// Of what is no call.
const NOTHING: Ask = Ask { limit: Some(0), choices: 1 };

impl Judging<'_> {
    /// How long the answer may become, and what else is asked. The whole request is held for that where tokens are limited, since
    /// its limit may stand behind its messages.
    async fn ask(
        &self,
        head: &request::Parts,
        body: &mut Outgoing,
        (operation, is_metered): (&Operation, bool),
    ) -> Result<(Ask, Option<ProbeFact>), Stop> {
        let unknown = if operation.tools.is_empty() { Ask::SILENT } else { NOTHING };
        if !is_metered && body.exact().is_none_or(|length| length > MAX_ASK) {
            return Ok((unknown, None));
        }
        match body.hold_all().await {
            Ok(()) => {}
            // Nothing of it is known, as if it were not held.
            Err(Unread::TooLarge) => return Ok((unknown, None)),
            Err(Unread::NoRoom) if !is_metered => return Ok((unknown, None)),
            Err(unread) => return Err(unread.into()),
        }
        let mut ask = AskReader::new(operation);
        let Some(decoded) = body.decoded(&head.headers) else { return Ok((ask.end(false), None)) };
        ask.push(&decoded);
        let ask = ask.end(true);
        if decoded.len() as u64 > MAX_ASK {
            return Ok((ask, None));
        }
        let (key, is_embedding) = (self.shared.digests.clone(), operation.api == "embeddings");
        let probe = apart(decoded.len(), move || probe::fact(&decoded, is_embedding, &key)).await?;
        Ok((ask, probe))
    }
}

/// What so many tokens are, and cost.
fn amount(tokens: Tokens, price: Option<&Price>) -> Amount {
    let money = price.map_or(0, |price| price.cost(tokens));
    Amount { tokens: admit::Tokens { input: tokens.input, output: tokens.output }, money }
}

impl Drawn {
    /// It goes to a server. From then on who does not wait for the answer has had what was set aside: nobody knows how much of it
    /// the server did.
    pub(crate) fn sent(&mut self, course: &Arc<Course>) {
        self.course = Some(Arc::clone(course));
    }

    /// No server did anything for it.
    pub(crate) fn refused(&mut self) {
        self.course = None;
    }

    /// The server answered with this status: what it took is no longer given back. Where that is no success, it took nothing
    /// that anybody would count.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.taken.answered();
        self.is_success = status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS;
        if !self.is_success {
            self.taken.settle(Amount::default(), seconds());
        }
    }

    /// Whether tokens, or what they cost, are limited.
    pub(crate) fn is_metered(&self) -> bool {
        self.is_metered
    }

    /// Fields of the answer that say what is left.
    pub(crate) fn headers(&self) -> Vec<(&'static str, String)> {
        self.taken.headers(seconds())
    }

    /// Of what an answer says, and of what it has where it says nothing.
    fn tokens(&self, usage: &Usage) -> Tokens {
        let least = estimate(usage.output_chars).max(usage.output_pieces);
        Tokens {
            input: usage.input_tokens.unwrap_or(self.asked),
            cached: usage.cached_tokens.unwrap_or(0),
            written: usage.cache_write_tokens.unwrap_or(0),
            output: usage.output_tokens.unwrap_or(0).max(least),
        }
    }

    /// As the server counts them, if it does.
    fn told(&self, usage: &Usage) -> Option<Tokens> {
        let output = usage.output_tokens.or(self.is_silent.then_some(0));
        let (Some(input), Some(output)) = (usage.input_tokens, output) else { return None };
        Some(Tokens { input, output, ..self.tokens(usage) })
    }

    /// So much of the answer came. Returns what is spent by what is more than was set aside: it is to be cut then.
    pub(crate) fn grow(&mut self, usage: &Usage) -> Option<Spent> {
        if !self.is_success {
            return None;
        }
        let so_far = amount(self.tokens(usage), self.price.as_deref());
        self.taken.grow(so_far, seconds())
    }

    /// The answer is over. Where it is whole, the server's count is the last word; where neither it nor the answer says how
    /// much that was, it took what was set aside. Returns what it cost, where that is known.
    pub(crate) fn settle(&mut self, usage: &Usage, is_whole: bool, is_read: bool) -> Option<Cost> {
        if !self.is_success {
            return None;
        }
        let told = self.told(usage).filter(|_| is_whole);
        let has_more = usage.output_tokens.is_some() || usage.output_chars > 0;
        if told.is_some() || is_read && has_more {
            let took = told.unwrap_or_else(|| self.tokens(usage));
            self.taken.settle(amount(took, self.price.as_deref()), seconds());
        }
        self.price.as_ref()?;
        Some(Cost { nanos: self.taken.amount().money, is_estimated: told.is_none() })
    }
}

impl Drop for Drawn {
    fn drop(&mut self) {
        if self.course.as_ref().is_some_and(|course| course.up.load(Ordering::Relaxed) > 0) {
            self.taken.answered();
        }
    }
}
