//! Bytes in any pieces: the same events, all bytes, and never more held than is promised.

use bowsprit_core::dialect::sse::{EVENT_LIMIT, Parser, PieceKind};

use super::{chance, pieces as cut};

type Event = (Vec<u8>, Option<Vec<u8>>);

pub(crate) fn pieces(input: &[u8]) {
    let whole = parse([input]);
    let mut rng = chance(input);
    for _ in 0..3 {
        assert_eq!(parse(cut(input, &mut rng)), whole, "other pieces, other events");
    }
    if input.len() < 300 {
        assert_eq!(parse(input.chunks(1)), whole, "byte by byte, other events");
    }
}

fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Event>, bool) {
    let mut parser = Parser::new();
    let mut events = Vec::new();
    let (mut taken, mut given) = (Vec::new(), Vec::new());
    for mut piece in pieces {
        taken.extend_from_slice(piece);
        while let Some(part) = parser.next(&mut piece) {
            given.extend_from_slice(part.raw);
            let fields = part.fields();
            if part.kind == PieceKind::Whole {
                events.push((fields.name.to_vec(), fields.data.map(|data| data.to_vec())));
            }
        }
        assert!(piece.is_empty(), "a piece was not used up");
        assert!(taken.len() - given.len() <= EVENT_LIMIT, "more than the limit is held");
        assert_eq!(
            parser.mid_event(),
            taken.len() > given.len(),
            "bytes held and no event begun"
        );
    }
    given.extend_from_slice(parser.rest().raw);
    assert_eq!(given, taken, "bytes were lost or made up");
    (events, parser.mid_event())
}
