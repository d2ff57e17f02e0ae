"""Arrays to pictures: contact sheets, comparisons and learning curves as PNG files.

Every picture carries the line "research software, not for diagnosis".
"""
