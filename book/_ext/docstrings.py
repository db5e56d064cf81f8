"""Lets docstrings stay plain text: formulas and examples set off by indentation are shown as they are, |q| is a norm.

In a docstring, an indented block after an unindented paragraph becomes a literal block, and a bar outside such blocks
is a bar, not the start of a substitution.
"""


def as_plain_text(app, what, name, obj, options, lines):
    out, literal, previous = [], False, ""
    for line in lines:
        indented = line.startswith("    ")
        if line.strip() and not indented:
            literal = False
        elif (
            indented
            and not literal
            and not out[-1].strip()
            and previous
            and not previous.startswith((" ", "..", "-", "*"))
        ):
            out += ["::", ""]
            literal = True
        out.append(line if literal else line.replace("|", r"\|"))
        previous = line or previous
    lines[:] = out


def setup(app):
    app.connect("autodoc-process-docstring", as_plain_text, priority=400)  # before napoleon
    return {"parallel_read_safe": True, "parallel_write_safe": True}
