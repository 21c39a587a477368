//! Fills what steps of the schema have left to be filled.

use std::time::Instant;

use tokio_postgres::types::Type;

use super::Postgres;
use crate::store::Error;
use crate::store::fill::{self, Filled, Fills};

impl Fills for Postgres {
    async fn fill_piece(&self, requests: usize) -> Result<Option<Filled>, Error> {
        let filled = self
            .write(async |transaction| {
                let began = Instant::now();
                let number = async |sql: &str, from: Option<i64>| {
                    let from = from.as_ref();
                    let parameters: Vec<_> = from.iter().map(|from| (*from as _, Type::INT8)).collect();
                    let row = transaction.query_typed(sql, &parameters).await?;
                    row.first().map(|row| row.try_get::<_, i64>(0)).transpose()
                };
                // Of two services one is at it: the other waits, and does the next.
                let from = format!("{} FOR UPDATE", fill::FROM);
                let Some(from) = number(&from, None).await? else {
                    return Ok(None);
                };
                let end = fill::behind(from, number(&fill::end(requests), Some(from)).await?);
                let upto = end.unwrap_or(i64::MAX);
                let rows = transaction
                    .execute_typed(fill::SAMPLE, &[(&from, Type::INT8), (&upto, Type::INT8)])
                    .await?;
                match end {
                    Some(end) => transaction.execute_typed(fill::NOTE, &[(&end, Type::INT8)]).await?,
                    None => transaction.execute_typed(fill::DONE, &[]).await?,
                };
                Ok(Some((rows, began)))
            })
            .await?;
        Ok(filled.map(|(rows, began)| Filled {
            rows,
            took: began.elapsed(),
        }))
    }
}
