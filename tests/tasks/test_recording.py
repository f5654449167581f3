"""What coefficients.json says of each column."""

from regression.config import Training
from regression.training import make_plan, train
from tasks.recording import coefficient_table
from tests.regression.tools import compressed, random_rows


def test_a_column_that_others_determine_says_what_it_equals():
    rows = random_rows(50, 4)
    rows[:, 2] = 100 * rows[:, 0] + rows[:, 1]
    rows[:, 3] = 2013.0
    training = Training(epochs=1, learning_rate="auto")
    plan = make_plan(compressed(rows), training)
    table = coefficient_table(train(plan, training, "cpu", lambda epoch, loss: None))
    fixed = {"least_squares": 0.0, "standard_error": None, "t_value": None}
    assert table["x2"] == {
        **fixed,
        "trained": table["x2"]["trained"],
        "equals": {"x0": 100, "x1": 1},
    }
    assert table["x3"]["equals"] == {"intercept": 2013}
    assert all(type(value) is int for value in table["x2"]["equals"].values())
    assert "equals" not in table["x0"]
    assert table["x0"]["standard_error"] > 0
