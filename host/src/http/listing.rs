//! `GET /counters?limit=N&cursor=C`: `{"counters":[{"key":"a","count":1}],"next":"…"}`, page by page.
//!
//! `next` is the cursor of the next page, and null on the last one. A page may have fewer counters than
//! the limit, and even none, although there are more.

use axum::{Json, extract::State, http::Uri};
use serde::{Deserialize, Serialize};

use super::{
    Counter,
    input::{self, NoBody},
    problem::Problem,
};
use crate::{keys::SCRATCH_KEY, plugin::entries::ENTRIES_PER_PAGE_MAX};

/// Counters on a page when the client does not say.
const ENTRIES_PER_PAGE_DEFAULT: u32 = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    limit: Option<u32>,
    cursor: Option<String>,
}

#[derive(Serialize)]
pub struct Listing {
    counters: Vec<Listed>,
    next: Option<String>,
}

#[derive(Serialize)]
struct Listed {
    key: String,
    count: i64,
}

pub async fn list<C: Counter>(
    State(counter): State<C>,
    uri: Uri,
    _: NoBody,
) -> Result<Json<Listing>, Problem> {
    let Wanted { limit, cursor } = input::query(&uri).ok_or_else(refused)?;
    let limit = limit.unwrap_or(ENTRIES_PER_PAGE_DEFAULT);
    if !(1..=ENTRIES_PER_PAGE_MAX).contains(&limit) {
        return Err(refused());
    }
    let page = counter.list(cursor, limit).await?;
    let counters = page.entries.into_iter().filter(|entry| entry.key != SCRATCH_KEY);
    let counters = counters.map(|entry| Listed { key: entry.key, count: entry.value }).collect();
    Ok(Json(Listing { counters, next: page.next }))
}

fn refused() -> Problem {
    Problem::bad_request(format!(
        "the query may hold \"limit\", a whole number from 1 to {ENTRIES_PER_PAGE_MAX}, and \"cursor\", \
         the \"next\" of the page before"
    ))
}
