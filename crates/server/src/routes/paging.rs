//! Parts of lists.

use squall_api::{Page, PageQuery, Problem};
use squall_store::{Document, List};

use crate::{ApiError, App};

/// `after` as something that every database can look for.
pub(super) fn after(after: Option<&str>) -> Result<Option<String>, ApiError> {
    match after {
        Some(text) if text.is_empty() || text.len() > 512 || text.contains('\0') => {
            Err(Problem::bad_request("`after` is not from the page before").hint("give `next` of the page before, as it is").into())
        }
        other => Ok(other.map(str::to_owned)),
    }
}

/// The part of a whole list, sorted by id, that a query asks for.
pub(super) fn page<T>(items: Vec<T>, query: &PageQuery, id: impl Fn(&T) -> &str) -> Result<Page<T>, ApiError> {
    let after = after(query.after.as_deref())?;
    let mut items: Vec<T> = items.into_iter().filter(|item| after.as_deref().is_none_or(|after| id(item) > after)).collect();
    let more = items.len() > query.items();
    items.truncate(query.items());
    let next = items.last().filter(|_| more).map(|item| id(item).to_owned());
    Ok(Page { items, next })
}

/// A page of the documents of a kind, by id, as they are shown.
pub(super) async fn documents<T, E>(
    app: &App,
    kind: &str,
    query: &PageQuery,
    seen: impl Fn(&Document) -> Result<T, E>,
) -> Result<Page<T>, ApiError>
where
    ApiError: From<E>,
{
    let limit = query.items();
    let list = List { after: after(query.after.as_deref())?, limit: Some(limit + 1), ..List::default() };
    let found = of_one_more(app.db.list(kind, &list).await?, limit, |document| document.id.clone());
    Ok(Page { items: found.items.iter().map(seen).collect::<Result<_, _>>()?, next: found.next })
}

/// A page of a list that was read with one item more than the page may have.
pub(super) fn of_one_more<T>(mut items: Vec<T>, limit: usize, key: impl Fn(&T) -> String) -> Page<T> {
    let more = items.len() > limit;
    items.truncate(limit);
    let next = if more { items.last().map(key) } else { None };
    Page { items, next }
}
