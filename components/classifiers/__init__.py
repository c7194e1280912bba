"""Classification of defect types, trained on made defective images (Tables 4 and 5).

``config`` the options, read without torch · ``networks`` the networks by name · ``training`` the classifier.
"""
