"""Links from the first use of a term to its definition."""

from experiments.reporting.document import Definition
from experiments.reporting.links import FirstUses

DEFINITIONS = [
    Definition("cosine", "Cosine", (), ("cosine(?! loss)",)),
    Definition("loss", "Loss", (), ("cosine loss",)),
    Definition("model", "Encore", (), ("Encore",)),
    Definition("tasks", "Tasks", (), ("MRR", r"K(?=\s=)")),
]


def link(name: str, text: str) -> str:
    return f'<a class="term" href="#term-{name}">{text}</a>'


def test_each_word_is_a_link_where_it_is_first_used_and_only_there():
    uses = FirstUses(DEFINITIONS)
    assert uses.link("MRR at K = 50, MRR") == (
        f"{link('tasks', 'MRR')} at {link('tasks', 'K')} = 50, MRR"
    )
    assert uses.link("MRR at K = 20 and cosine") == f"MRR at K = 20 and {link('cosine', 'cosine')}"


def test_what_is_part_of_another_word_is_not_meant():
    uses = FirstUses(DEFINITIONS)
    assert uses.link("cosines, my-Encore, Encores") == "cosines, my-Encore, Encores"
    assert (
        uses.link("Encore, cosine loss")
        == f"{link('model', 'Encore')}, {link('loss', 'cosine loss')}"
    )


def test_text_stays_text():
    uses = FirstUses(DEFINITIONS)
    text = uses.link("<script>MRR</script> & \"'")
    assert text == f"&lt;script&gt;{link('tasks', 'MRR')}&lt;/script&gt; &amp; &#34;&#39;"
