"""How the documentation is built: every example runs, and a warning is an error (``make docs``)."""

from importlib.metadata import version as installed_version

project = "pescador_fn"
copyright = "2026, the pescador_fn authors"
version = release = installed_version("pescador-fn")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"pescador_fn {release}"

# Pages are notebooks in Markdown. All run afresh at each build; an exception, or anything on stderr, fails it.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_timeout = 120
nb_output_stderr = "warn"
nb_render_markdown_format = "gfm"  # tables, in what a cell displays
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_type_aliases = {name: name for name in ("Factory", "Factories", "Stream", "Weights")}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Source", "notes")]
