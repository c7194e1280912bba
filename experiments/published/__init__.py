"""Published numbers, each written down once: ``tgi`` the paper's own tables and figures, ``tgi_readme`` the result
tables of its repository, ``field`` what other methods reach on the same datasets."""
