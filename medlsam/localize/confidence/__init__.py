"""How far a located box can be trusted, without knowing the truth.

``evidence.py`` collects numbers for one candidate: how well features match, how far the templates disagree, how
much of the box was scanned; ``intensity.py`` adds whether the intensities inside the box are those of the
templates. ``leave_one_out.py`` locates each template with the others when a set is built, which gives the usual
value of every number, the usual error of each face, the margin and the trust in the probe. ``status.py`` compares a
candidate's numbers with the usual ones: found, uncertain, missing or out of view, with a confidence (the expected
overlap). Its fitted weights lie in ``status.json``. ``outliers.py`` uses the same trials to find templates that do
not fit the others.
"""
