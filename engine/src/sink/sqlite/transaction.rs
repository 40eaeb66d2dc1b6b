//! Orders in SQLite: statements of ours with their parameters, and the tables and views of generations.
//!
//! Invariant: a name in the file that the engine did not create is never touched, and a table's name belongs to one projection, so that
//! two that declare one name are told from the start.

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Row as _, TypeInfo as _, ValueRef as _};

use super::catalog::taken;
use super::failure::Failure;
use super::text::{self, Statement, quote, statement};
use crate::change::{Index, Schema, Table, timestamp_text};
use crate::checkpoint::Generation;
use crate::sink::registry::transaction::{Field, Fields, Parameter, Transaction, Views};
use crate::sink::stored::{self, Difference, TableChange};
use crate::sink::{OrderError, Refusal, SinkError};

/// An open transaction on a connection.
pub(super) struct SqliteTransaction<'c> {
    connection: &'c mut SqliteConnection,
    tried: String,
}

impl<'c> SqliteTransaction<'c> {
    /// `tried` says what is attempted, for messages.
    pub(super) fn new(connection: &'c mut SqliteConnection, tried: &str) -> Self {
        Self { connection, tried: tried.to_owned() }
    }

    fn error(&self, failure: impl Into<Failure>) -> SinkError {
        failure.into().into_sink_error(&self.tried)
    }

    async fn execute(&mut self, text: &str) -> Result<(), SinkError> {
        let done = statement(text).execute(&mut *self.connection).await;
        done.map(|_| ()).map_err(|error| self.error(error))
    }

    async fn is_taken(&mut self, name: &str) -> Result<bool, SinkError> {
        taken(self.connection, name).await.map_err(|failure| self.error(failure))
    }

    async fn is_view(&mut self, name: &str) -> Result<bool, SinkError> {
        let found = statement("SELECT 1 FROM sqlite_schema WHERE name = ? AND type = 'view'").bind(name.to_owned());
        let found = found.fetch_optional(&mut *self.connection).await.map_err(|error| self.error(error))?;
        Ok(found.is_some())
    }

    /// The projections that have a generation with a table of this name.
    async fn owners(&mut self, table: &str) -> Result<Vec<String>, SinkError> {
        let rows = self
            .rows("SELECT projection, descriptor FROM @generation WHERE stored ORDER BY projection", Vec::new())
            .await?;
        let mut owners = Vec::new();
        for mut row in rows {
            let (projection, descriptor) = (row.text()?, row.json()?);
            if stored::tables(&descriptor).iter().any(|other| other.name.eq_ignore_ascii_case(table)) {
                owners.push(projection);
            }
        }
        Ok(owners)
    }

    /// Refuses a table whose names somebody else has.
    async fn claim_names(&mut self, generation: &Generation, table: &Table) -> Result<(), OrderError> {
        let owners = self.owners(&table.name).await?;
        let stored = text::stored_name(generation, table);
        let (name, whose) = if let Some(other) = owners.iter().find(|owner| **owner != generation.projection) {
            (&table.name, format!("projection {other:?} has one of this name"))
        } else if self.is_taken(&stored).await? {
            (&stored, "the database has one of this name that is not the engine's".to_owned())
        } else if owners.is_empty() && self.is_taken(&table.name).await? && !self.is_left(generation, table).await? {
            (&table.name, "the database has one of this name that is not the engine's".to_owned())
        } else {
            return Ok(());
        };
        let message = format!(
            "projection {:?} needs {name:?} for its table {:?}, and {whose}; rename one of them, or keep the projections in two databases",
            generation.projection, table.name
        );
        Err(Refusal { code: "name_taken", message, subject: Some(name.clone()) }.into())
    }

    /// Whether a table's name is a view that an earlier generation of the projection has left.
    async fn is_left(&mut self, generation: &Generation, table: &Table) -> Result<bool, SinkError> {
        let rows = self
            .rows(
                "SELECT descriptor FROM @generation WHERE projection = $1",
                vec![generation.projection.as_str().into()],
            )
            .await?;
        for mut row in rows {
            if stored::tables(&row.json()?).iter().any(|other| other.name == table.name) {
                return self.is_view(&table.name).await;
            }
        }
        Ok(false)
    }

    async fn make_table(&mut self, generation: &Generation, table: &Table, bare: bool) -> Result<(), OrderError> {
        self.claim_names(generation, table).await?;
        let name = text::stored_name(generation, table);
        self.execute(&text::create_table(&name, table)).await?;
        if !bare {
            for index in &table.indexes {
                self.make_index(&name, index).await?;
            }
        }
        Ok(())
    }

    /// Makes an index where there is none like it.
    pub(super) async fn make_index(&mut self, stored: &str, index: &Index) -> Result<(), SinkError> {
        let Some(create) = text::create_index(stored, index) else { return Ok(()) };
        let there = statement(
            "SELECT 1 FROM pragma_index_list(?1) AS l WHERE l.origin = 'c' AND (SELECT group_concat(name, ' ') FROM \
             (SELECT name FROM pragma_index_info(l.name) ORDER BY seqno)) = ?2",
        )
        .bind(stored.to_owned())
        .bind(index.columns.join(" "));
        let there = there.fetch_optional(&mut *self.connection).await.map_err(|error| self.error(error))?;
        if there.is_none() { self.execute(&create).await } else { Ok(()) }
    }

    async fn add(
        &mut self,
        generation: &Generation,
        schema: &Schema,
        changes: &[TableChange],
    ) -> Result<(), OrderError> {
        for change in changes {
            let Some(table) = schema.descriptor.tables.iter().find(|table| table.name == change.table) else {
                continue;
            };
            let name = text::stored_name(generation, table);
            for difference in &change.differences {
                match difference {
                    Difference::TableAdded => self.make_table(generation, table, false).await?,
                    Difference::ColumnAdded { column } => {
                        let add = format!("ALTER TABLE {} ADD COLUMN {}", quote(&name), text::column(column));
                        self.execute(&add).await?;
                    }
                    _ => {}
                }
            }
            // After the columns, which they may be on.
            for difference in &change.differences {
                if let Difference::IndexAdded { index } = difference {
                    self.make_index(&name, index).await?;
                }
            }
        }
        Ok(())
    }

    async fn point(&mut self, views: Views<'_>) -> Result<(), OrderError> {
        let former = views.former.map(|(_, tables)| tables).unwrap_or_default();
        for table in former.iter().chain(views.tables) {
            if self.is_view(&table.name).await? {
                self.execute(&format!("DROP VIEW {}", quote(&table.name))).await?;
            }
        }
        for table in views.tables {
            if self.is_taken(&table.name).await? {
                let message = format!(
                    "projection {:?} needs the name {:?} for its view, and somebody has made something else of this name; rename that",
                    views.generation.projection, table.name
                );
                return Err(Refusal { code: "name_taken", message, subject: Some(table.name.clone()) }.into());
            }
            self.execute(&text::create_view(&text::stored_name(views.generation, table), table)).await?;
        }
        Ok(())
    }
}

/// The text as SQLite takes it.
fn rendered(text: &str) -> String {
    text.replace("@now", "strftime('%Y-%m-%d %H:%M:%f', 'now')").replace('@', "laterna_")
}

fn with_parameters(text: &str, parameters: Vec<Parameter>) -> Statement {
    parameters.into_iter().fold(statement(&rendered(text)), |statement, parameter| match parameter {
        Parameter::Text(text) => statement.bind(text),
        Parameter::Integer(number) => statement.bind(number),
        Parameter::Boolean(truth) => statement.bind(i64::from(truth)),
        Parameter::Bytes(bytes) => statement.bind(bytes.to_vec()),
        Parameter::Json(text) => statement.bind(text),
        Parameter::Time(micros) => statement.bind(micros.map(instant)),
    })
}

/// An instant as SQLite's own functions write it: to the millisecond.
fn instant(micros: i64) -> String {
    let mut text = timestamp_text(micros);
    text.truncate(text.len().saturating_sub(3));
    text
}

fn fields(row: &SqliteRow) -> Result<Fields, sqlx::Error> {
    let mut fields = Vec::with_capacity(row.len());
    for at in 0..row.len() {
        let raw = row.try_get_raw(at)?;
        if raw.is_null() {
            fields.push(Field::Null);
            continue;
        }
        let kind = raw.type_info().name().to_owned();
        fields.push(match kind.as_str() {
            "INTEGER" => Field::Integer(row.try_get(at)?),
            "BLOB" => Field::Bytes(row.try_get(at)?),
            _ => Field::Text(row.try_get(at)?),
        });
    }
    Ok(Fields::new(fields))
}

impl Transaction for SqliteTransaction<'_> {
    fn run<'a>(&'a mut self, text: &'static str, parameters: Vec<Parameter>) -> BoxFuture<'a, Result<u64, SinkError>> {
        Box::pin(async move {
            let done = with_parameters(text, parameters).execute(&mut *self.connection).await;
            Ok(done.map_err(|error| self.error(error))?.rows_affected())
        })
    }

    fn rows<'a>(
        &'a mut self,
        text: &'static str,
        parameters: Vec<Parameter>,
    ) -> BoxFuture<'a, Result<Vec<Fields>, SinkError>> {
        Box::pin(async move {
            let rows = with_parameters(text, parameters).fetch_all(&mut *self.connection).await;
            let rows = rows.map_err(|error| self.error(error))?;
            rows.iter().map(|row| fields(row).map_err(|error| self.error(error))).collect()
        })
    }

    fn make_tables<'a>(
        &'a mut self,
        generation: &'a Generation,
        schema: &'a Schema,
        bare: bool,
    ) -> BoxFuture<'a, Result<(), OrderError>> {
        Box::pin(async move {
            for table in &schema.descriptor.tables {
                self.make_table(generation, table, bare).await?;
            }
            Ok(())
        })
    }

    fn add_to_tables<'a>(
        &'a mut self,
        generation: &'a Generation,
        schema: &'a Schema,
        changes: &'a [TableChange],
        _live: bool,
    ) -> BoxFuture<'a, Result<(), OrderError>> {
        Box::pin(self.add(generation, schema, changes))
    }

    fn point_views<'a>(&'a mut self, views: Views<'a>) -> BoxFuture<'a, Result<(), OrderError>> {
        Box::pin(self.point(views))
    }

    fn drop_views<'a>(
        &'a mut self,
        _projection: &'a str,
        tables: &'a [Table],
    ) -> BoxFuture<'a, Result<(), OrderError>> {
        Box::pin(async move {
            for table in tables {
                if self.is_view(&table.name).await? {
                    self.execute(&format!("DROP VIEW {}", quote(&table.name))).await?;
                }
            }
            Ok(())
        })
    }

    fn drop_tables<'a>(
        &'a mut self,
        generation: &'a Generation,
        tables: &'a [Table],
    ) -> BoxFuture<'a, Result<(), OrderError>> {
        Box::pin(async move {
            for table in tables {
                let name = quote(&text::stored_name(generation, table));
                self.execute(&format!("DROP TABLE IF EXISTS {name}")).await?;
            }
            Ok(())
        })
    }

    fn hold_checkpoints<'a>(&'a mut self, _generation: &'a Generation) -> BoxFuture<'a, Result<(), SinkError>> {
        // Nobody else writes while this transaction does.
        Box::pin(async { Ok(()) })
    }

    fn patience(&self) -> Duration {
        Duration::ZERO
    }

    fn missing<'a>(
        &'a mut self,
        generation: &'a Generation,
        tables: &'a [Table],
    ) -> BoxFuture<'a, Result<Option<String>, SinkError>> {
        Box::pin(async move {
            for table in tables {
                for name in [text::stored_name(generation, table), table.name.clone()] {
                    if !self.is_taken(&name).await? {
                        return Ok(Some(format!("{name:?}")));
                    }
                }
            }
            Ok(None)
        })
    }
}
