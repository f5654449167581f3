"""What Prefect's UI shows beside a flow run."""

from tasks.artifacts import escaped


def test_a_name_is_shown_as_it_is_and_makes_no_markup() -> None:
    name = "[win](http://x) <img src=x>\n# a|b_c"
    assert escaped(name) == (r"\[win\]\(http\:\/\/x\) \<img src\=x\> \# a\|b_c")
    assert escaped("größe 1") == "größe 1"
