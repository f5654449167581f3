"""What Prefect's UI shows beside a flow run."""

from tasks.artifacts import beside_baselines, escaped


def test_a_name_is_shown_as_it_is_and_makes_no_markup() -> None:
    name = "[win](http://x) <img src=x>\n# a|b_c"
    assert escaped(name) == (r"\[win\]\(http\:\/\/x\) \<img src\=x\> \# a\|b_c")
    assert escaped("größe 1") == "größe 1"


def test_scores_stand_beside_those_of_the_baselines_on_the_same_rows() -> None:
    metrics = {"test_rmse": 1.0, "linear_test_rmse": 2.0, "mean_test_rmse": 4.0, "loss": 1.0}
    assert beside_baselines(metrics | {"optimality_gap": 0.5}) == [
        {
            "score": "test_rmse",
            "this model": "1",
            "linear model": "2",
            "mean or largest class": "4",
        },
        {
            "score": "optimality_gap",
            "this model": "0.5",
            "linear model": "",
            "mean or largest class": "",
        },
    ]
