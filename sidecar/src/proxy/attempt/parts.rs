//! A request that the provider takes in parts only, such as more inputs than one request to an embeddings API may have.

use bytes::Bytes;
use http::response;

use super::{Attempt, COMPRESSED, Success, TOO_LARGE};
use crate::limits::ANSWER_TRANSLATED;
use crate::proxy::collect::Collected;
use crate::proxy::deadlines::Deadlines;
use crate::proxy::failure::Failure;
use crate::proxy::inbound::Came;
use crate::proxy::stopwatch::Stopwatch;

impl Attempt<'_> {
    /// The first answer is here: asks for the further parts of the request. A part that fails fails the attempt: half of
    /// the vectors are no answer. What came before it is left to who wants it ([`Came`]).
    pub(super) async fn in_parts(
        mut self,
        head: response::Parts,
        first: Bytes,
        deadlines: &Deadlines,
        stopwatch: &mut Stopwatch,
    ) -> Result<Success, Box<Failure>> {
        let mut answers = vec![first];
        for part in &self.prepared.more {
            self.leave(&answers);
            let mut received = match self.ask(part, deadlines, stopwatch).await {
                Ok((answer, now)) => self.exchange.received(answer, now),
                Err(fault) => return Err(Failure::network(self.exchange, fault)),
            };
            if !received.head.status.is_success() {
                return Err(self.refused(received, deadlines, stopwatch).await);
            }
            if received.is_encoded {
                return Err(Failure::malformed(self.exchange, COMPRESSED));
            }
            let body = &mut received.body;
            match self.collect(body, deadlines, ANSWER_TRANSLATED, stopwatch).await {
                Ok(Collected::Whole(whole)) => answers.push(whole),
                Ok(Collected::NoRoom(_)) => return Err(Failure::no_room(self.exchange)),
                Ok(Collected::Part(_)) => return Err(Failure::malformed(self.exchange, TOO_LARGE)),
                Err(fault) => return Err(Failure::network(self.exchange, fault)),
            }
        }
        let now = stopwatch.now();
        self.translated(head, &answers, now)
    }

    /// Leaves what has come until now.
    fn leave(&self, answers: &[Bytes]) {
        if let Some(parts) = &self.inbound.parts {
            let sent = [&self.prepared.body].into_iter().chain(&self.prepared.more);
            parts.leave(Came {
                wire: self.prepared.wire,
                by: self.upstream.name.clone(),
                parts: sent.cloned().zip(answers.iter().cloned()).collect(),
            });
        }
    }
}
