//! What of a relayed answer waits until guards that are services have decided about it, and goes out then.

use std::task::{Context, Poll};

use bowsprit_core::classify::Ended;
use bowsprit_core::fault::Code;
use bowsprit_core::guard::Stop;
use bytes::{Bytes, BytesMut};

use super::{Phase, Relay};

impl Relay {
    /// What goes out of this without waiting for services.
    ///
    /// # Errors
    /// A guard does not let it pass.
    pub(super) fn windowed(&mut self, piece: Bytes) -> Result<Bytes, Stop> {
        match (&mut self.services, &self.open) {
            (Some(services), Some((context, _))) if !piece.is_empty() => services.push(piece, context.now()),
            _ => Ok(piece),
        }
    }

    /// What services have decided goes out. Ready with nothing: look again.
    pub(super) fn poll_services(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let (Some(services), Some((context, _))) = (&mut self.services, &mut self.open) else {
            return Poll::Pending;
        };
        let (window, told) = std::task::ready!(services.poll(cx));
        let now = context.tick();
        // While it was not read, nothing could come.
        self.last = context.process().clock.instant(now);
        if let Err(told) = services.told(context, told) {
            return Poll::Ready(self.refused(&told));
        }
        let out = services.decided(window);
        let out = self.goes_out(out);
        if self.is_ending {
            self.end_well_when_decided();
        }
        Poll::Ready(out)
    }

    /// Whether nothing is read until services have decided.
    pub(super) fn waits_for_services(&self) -> bool {
        self.is_ending || self.services.as_ref().is_some_and(|services| services.is_full())
    }

    /// All has come; it ends when services have decided about what is left.
    pub(super) fn end_well_when_decided(&mut self) {
        self.is_ending = true;
        if self.services.as_ref().is_none_or(|services| services.is_empty()) {
            self.end_well();
        }
    }

    /// A service lets nothing more pass: its guard was told of.
    fn refused(&mut self, told: &str) -> Option<Bytes> {
        self.out.clear();
        let Some((context, _)) = self.close(Ended::CallerGone) else {
            self.phase = Phase::Done;
            return None;
        };
        self.say(Code::BizGuardRefused, told, context)
    }

    /// The same, where nothing follows.
    ///
    /// # Errors
    /// As of [`Self::windowed`].
    pub(super) fn windowed_to_the_end(&mut self, rest: Bytes) -> Result<Bytes, Stop> {
        let mut out = BytesMut::from(&*self.windowed(rest)?);
        if let (Some(services), Some((context, _))) = (&mut self.services, &self.open) {
            out.extend_from_slice(&services.finish(context.now())?);
        }
        Ok(out.freeze())
    }
}
