"""The demo's books: they must show a mail that was lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from examples.mailer.__main__ import _what_is_wrong
from examples.mailer.accounting import Books, Pushes
from examples.mailer.story import Result, read_users

BOOKS = Books(
    accepted={1, 2, 3, 4},
    welcomed={1: 1, 2: 2, 3: 1},
    late={3},
    failed={4: "550 No such mailbox"},
)


def result(**changes: object) -> Result:
    whole = Result(
        pushes=Pushes({1, 2, 3, 4}, Counter({"no e-mail": 2})),
        first=BOOKS,
        retried=Books({4}, {4: 1}, {4}, {}),
        last=BOOKS,
        killed=4711,
        report="Welcome mails: 3 delivered, 1 failed",
        seconds=1.25,
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def test_books_balance_when_each_mail_was_delivered_or_is_kept_as_failed() -> None:
    assert BOOKS.balanced
    assert BOOKS.lost == []
    assert BOOKS.delivered == {1, 2, 3}


def test_a_delivered_mail_that_is_missing_at_the_server_is_lost() -> None:
    books = replace(BOOKS, welcomed={1: 1, 2: 2})
    assert books.lost == [3]
    assert not books.balanced


def test_a_failed_job_that_is_not_kept_is_lost() -> None:
    books = replace(BOOKS, failed={})
    assert books.lost == [4]
    assert not books.balanced


def test_a_mail_that_was_never_pushed_is_a_stray() -> None:
    assert replace(BOOKS, welcomed={**BOOKS.welcomed, 9: 1}).strays == [9]
    assert replace(BOOKS, failed={**BOOKS.failed, 8: "?"}).strays == [8]
    assert not replace(BOOKS, failed={**BOOKS.failed, 8: "?"}).balanced


def test_duplicates_are_counted_and_are_no_loss() -> None:
    assert BOOKS.twice == [2]


def test_summary_counts_what_the_table_shows() -> None:
    assert BOOKS.summary() == {
        "delivered": 3,
        "retried": 1,
        "failed": 1,
        "failed_because": {"550 No such mailbox": 1},
        "twice": [2],
        "lost": [],
        "strays": [],
    }


def test_a_result_is_good_only_if_both_books_balance_and_the_report_arrived() -> None:
    lossy = replace(BOOKS, welcomed={1: 1})
    assert result().good
    assert not result(first=lossy).good
    assert not result(last=lossy).good
    assert not result(report=None).good


def test_the_complaint_names_the_users_whose_mail_was_lost() -> None:
    assert "2 users: 2, 3." in _what_is_wrong(result(last=replace(BOOKS, welcomed={1: 1})))
    assert "never pushed" in _what_is_wrong(result(first=replace(BOOKS, failed={4: "", 8: ""})))
    assert "report" in _what_is_wrong(result(report=None))


def test_rows_are_those_that_were_accepted_and_those_that_were_refused() -> None:
    assert result().pushes.rows == 6


def test_the_file_has_500_users_and_no_address_twice() -> None:
    rows = read_users(10_000)
    assert len(rows) == 500
    assert len({row["email"] for row in rows}) == 500
