"""One self-contained HTML file about a study.

contents   what is shown, as typed values that somebody else gathered
page       those values -> HTML
*.html, *.css, *.js   the page's frame, look and its one script
"""
