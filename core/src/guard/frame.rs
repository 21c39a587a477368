//! How a streamed answer is framed: it is cut into its events and what stands between them.

use crate::dialect::Dialect;
use crate::dialect::sse::{EVENT_LIMIT, Parser, PieceKind};

use super::elements::{Cut, Elements};

/// How a body is framed; known from its first byte that is not white space.
#[derive(Debug)]
pub(super) enum Frame {
    Unknown,
    Events(Parser),
    Array(Elements),
    /// No stream: it is held, and looked into as a whole.
    Plain(Vec<u8>),
}

/// What is cut off.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'a> {
    /// An event: its bytes, and its data.
    Event(&'a [u8], &'a [u8]),
    /// What is no event.
    Between(&'a [u8]),
    /// More than an event may be: nobody can look into it.
    Unread(&'a [u8]),
}

impl Frame {
    /// Takes what comes, and gives each part that is whole to `part`.
    ///
    /// # Errors
    /// What `part` says.
    pub(super) fn take<E>(
        &mut self,
        dialect: Dialect,
        piece: &[u8],
        part: &mut dyn FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if matches!(self, Self::Unknown) {
            *self = match piece.iter().find(|byte| !byte.is_ascii_whitespace()) {
                None => Self::Unknown,
                Some(b'[') if dialect == Dialect::Gemini => Self::Array(Elements::default()),
                Some(b'{') => Self::Plain(Vec::new()),
                Some(_) => Self::Events(Parser::new()),
            };
        }
        match self {
            Self::Unknown => part(Part::Between(piece)),
            Self::Events(parser) => events(parser, piece, part),
            Self::Array(elements) => array(elements, piece, part),
            Self::Plain(held) => {
                held.extend_from_slice(piece);
                if held.len() <= EVENT_LIMIT {
                    return Ok(());
                }
                part(Part::Unread(held))?;
                held.clear();
                Ok(())
            }
        }
    }

    /// Nothing follows. Returns what was no stream.
    ///
    /// # Errors
    /// What `part` says.
    pub(super) fn finish<E>(&mut self, part: &mut dyn FnMut(Part<'_>) -> Result<(), E>) -> Result<Option<Vec<u8>>, E> {
        match self {
            Self::Events(parser) => {
                let parser = std::mem::take(parser);
                *self = Self::Unknown;
                let rest = parser.rest();
                match rest.fields().data {
                    Some(data) => part(Part::Event(rest.raw, &data))?,
                    None => part(Part::Between(rest.raw))?,
                }
            }
            Self::Plain(held) => {
                let held = std::mem::take(held);
                *self = Self::Unknown;
                return Ok(Some(held));
            }
            Self::Array(elements) => part(Part::Between(&std::mem::take(&mut elements.element)))?,
            Self::Unknown => {}
        }
        Ok(None)
    }

    /// Whether a part has begun that is not whole.
    pub(super) fn is_begun(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::Events(parser) => parser.mid_event(),
            Self::Array(elements) => !elements.element.is_empty(),
            Self::Plain(held) => !held.is_empty(),
        }
    }
}

fn events<E>(parser: &mut Parser, piece: &[u8], part: &mut dyn FnMut(Part<'_>) -> Result<(), E>) -> Result<(), E> {
    let mut rest = piece;
    while let Some(piece) = parser.next(&mut rest) {
        match piece.kind {
            PieceKind::Whole => match piece.fields().data {
                Some(data) => part(Part::Event(piece.raw, &data))?,
                None => part(Part::Between(piece.raw))?,
            },
            PieceKind::Tail => part(Part::Between(piece.raw))?,
            PieceKind::Oversized => part(Part::Unread(piece.raw))?,
        }
    }
    Ok(())
}

fn array<E>(elements: &mut Elements, piece: &[u8], part: &mut dyn FnMut(Part<'_>) -> Result<(), E>) -> Result<(), E> {
    for byte in piece {
        match elements.take(*byte) {
            Ok(Cut::Between) => part(Part::Between(&[*byte]))?,
            Ok(Cut::Inside) => {}
            Ok(Cut::Last) => {
                let element = std::mem::take(&mut elements.element);
                part(Part::Event(&element, &element))?;
            }
            Err(()) => {
                let mut begun = std::mem::take(&mut elements.element);
                begun.push(*byte);
                part(Part::Unread(&begun))?;
            }
        }
    }
    Ok(())
}
