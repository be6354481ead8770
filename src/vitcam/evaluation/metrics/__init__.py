"""Metrics of explanations: pure functions from heatmaps and truths, or a model, to numbers.

Without a model: ``localization``, ``mask_overlap``, ``max_box_accuracy``, ``pixel_precision``, ``pointing``,
``energy``. With one: ``perturbation`` (the paper's), ``insertion_deletion``, ``road``, ``token_dropping``,
``saco``, ``gains`` (SRG, AOPC, LOdds, from curves of those), ``subset_removal`` (infidelity, faithfulness
correlation, sensitivity-n), ``irof``, ``chefer``, ``completeness``, ``quantus_scores``.
"""
