"""The only file that Airflow loads from this folder; the package beside it is imported, not executed (.airflowignore).

Where the package is installed its entry point registers the plugin, and this file adds nothing: Airflow reports a second one
as an error.
"""

from bcda_provider import plugin

if not plugin.is_installed():
    BcdaPlugin = plugin.BcdaPlugin
